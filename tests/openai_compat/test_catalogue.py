"""GET /v1/models: the names that a key may use, and nothing about what stands behind them."""

import pytest

from tests import make
from tests.api.calling import Caller
from tests.openai_compat.asking import refused


def names(caller: Caller) -> list[str]:
    answer = caller.get("/v1/models")
    assert answer.status_code == 200
    body = answer.json()
    assert body["object"] == "list"
    assert all(set(model) == {"id", "object", "created", "owned_by"} for model in body["data"])
    return [model["id"] for model in body["data"]]


@pytest.fixture
def given(acme):
    """A team that was given an alias, an access group and a model group, with its key."""
    for name in ("given", "bundled", "member", "foreign"):
        make.alias(name, provider="openai", provider_model="secret-provider-model")
    make.alias("retired", status="inactive")
    make.access_group("bundle", "bundled")
    make.model_group("smart", "member", "secret-provider-model")
    make.model_group("empty")
    make.model_group("foreign-group", "member")
    made = make.customer(access_groups=["bundle", "given", "retired"], model_groups=["smart", "empty"])
    return Caller(made.headers)


def test_key_sees_what_it_may_use(given):
    assert names(given) == ["bundled", "chat-default", "given", "smart"]


def test_every_listed_name_answers_and_no_other(given, provider):
    body = {"messages": [{"role": "user", "content": "Hello"}]}
    asked = {
        name: given.post("/v1/chat/completions", body | {"model": name}).status_code
        for name in (*names(given), "member", "foreign", "retired", "empty", "foreign-group", "bundle")
    }

    assert {name for name, status in asked.items() if status == 200} == set(names(given))
    assert set(asked.values()) == {200, 404}


def test_alias_of_others_hides_a_group_of_its_name(acme, provider):
    make.alias("member")
    make.model_group("smart", "member")
    caller = Caller(make.customer(model_groups=["smart"]).headers)
    make.alias("smart")

    assert names(caller) == ["chat-default"]


def test_key_bound_to_models_sees_no_other(acme, operator):
    make.alias("fast", is_open=True)
    secret = operator.post("/api/teams/acme/keys", {"models_allowed": ["fast"]}).json()["virtual_key"]

    assert names(Caller({"Authorization": f"Bearer {secret}"})) == ["fast"]


def test_provider_is_not_named(given):
    assert b"secret-provider-model" not in given.get("/v1/models").content
    assert b"openai" not in given.get("/v1/models").content


def test_one_model_is_found_by_its_name(given):
    model = given.get("/v1/models/smart").json()

    assert (model["id"], model["object"]) == ("smart", "model")
    assert isinstance(model["created"], int)


@pytest.mark.parametrize("name", ["foreign", "nothing", "a/b", "retired"])
def test_model_that_is_not_the_keys_is_not_found(given, name):
    assert refused(given.get(f"/v1/models/{name}"), 404)["code"] == "model_not_found"
