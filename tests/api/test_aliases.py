"""Model aliases over HTTP: /api/models, and /api/model-aliases with its shorter words."""

import pytest

from apps.catalog.models import ModelAlias
from apps.core.models import AuditEntry
from tests import make
from tests.api.calling import located

GPT = {"model_alias": "gpt", "display_name": "GPT", "provider": "openai", "actual_model": "openai/gpt-9"}
# What has been relied upon in an alias.
ALIAS = {
    "model_alias",
    "display_name",
    "provider",
    "actual_model",
    "litellm_model_id",
    "access_groups",
    "description",
    "pricing_input",
    "pricing_output",
    "status",
    "teams_using",
    "created_at",
    "updated_at",
}
LIMITS = {
    "context_window_tokens": 128_000,
    "max_output_tokens": 16_384,
    "default_output_tokens": 1000,
    "max_choices": 8,
    "timeout_s": 60,
    "supports_vision": True,
    "supports_audio": False,
    "supports_tools": True,
    "supports_json_schema": True,
    "supports_streaming": True,
    "supports_embeddings": False,
}


def create(operator, **more):
    return operator.post("/api/models/create", GPT | more)


# --- Create ------------------------------------------------------------------------------------------------


def test_created_alias_in_full(operator):
    make.access_group("basic")

    answer = create(
        operator,
        access_groups=["basic"],
        description="Fast",
        pricing_input=0.15,
        pricing_output=0.6,
        credential_name="ignored",
        api_key="sk-secret-of-the-provider",
        **LIMITS,
    )

    body = answer.json()
    assert answer.status_code == 200
    assert set(body) >= ALIAS | set(LIMITS)
    assert {name: body[name] for name in GPT} == GPT
    assert (body["access_groups"], body["description"], body["teams_using"]) == (["basic"], "Fast", [])
    assert (body["pricing_input"], body["pricing_output"], body["status"]) == (0.15, 0.6, "active")
    assert {name: body[name] for name in LIMITS} == LIMITS
    assert body["litellm_model_id"] is None
    assert body["created_at"].endswith("Z")
    assert operator.get("/api/models/gpt").json() == body
    assert ModelAlias.objects.get().input_nanousd_per_mtok == 150_000_000
    assert "sk-secret" not in str(list(AuditEntry.objects.values()))


def test_alias_needs_no_more_than_four_fields(operator):
    body = create(operator, access_groups=None, description=None, pricing_input=None, is_default=None).json()

    assert (body["access_groups"], body["description"], body["pricing_input"]) == ([], None, None)
    assert (body["is_open"], body["is_default"], body["max_output_tokens"], body["supports_vision"]) == (
        False,
        False,
        None,
        None,
    )


def test_alias_is_made_the_platform_s_default(operator):
    make.platform_model("first")

    body = create(operator, is_default=True).json()

    assert (body["is_default"], body["is_open"]) == (True, True)
    assert operator.get("/api/models/first").json()["is_default"] is False


def test_duplicate_and_unknown_names_have_their_texts(operator):
    create(operator)

    taken, unknown = create(operator), create(operator, model_alias="other", access_groups=["nope"])

    assert (taken.status_code, taken.json()["detail"]) == (400, "Model alias 'gpt' already exists")
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "Model access group 'nope' not found")
    assert ModelAlias.objects.count() == 1


@pytest.mark.parametrize(
    ("more", "loc"),
    [
        ({"model_alias": ""}, "model_alias"),
        ({"model_alias": "x" * 101}, "model_alias"),
        ({"model_alias": "openai/gpt"}, "model_alias"),
        ({"model_alias": "create"}, "model_alias"),
        ({"display_name": None}, "display_name"),
        ({"display_name": ""}, "display_name"),
        ({"provider": "x" * 101}, "provider"),
        ({"actual_model": 5}, "actual_model"),
        ({"description": "x" * 2001}, "description"),
        ({"access_groups": "basic"}, "access_groups"),
        ({"pricing_input": -1, "pricing_output": 1}, "pricing_input"),
        ({"pricing_input": "1", "pricing_output": 1}, "pricing_input"),
        ({"pricing_input": True, "pricing_output": 1}, "pricing_input"),
        ({"pricing_input": 1_000_000, "pricing_output": 1}, "pricing_input"),
        ({"pricing_input": 1e-10, "pricing_output": 1}, "pricing_input"),
        ({"pricing_input": 1e300, "pricing_output": 1}, "pricing_input"),
        ({"route": "carrier-pigeon"}, "route"),
        ({"is_open": "yes"}, "is_open"),
        ({"context_window_tokens": 0}, "context_window_tokens"),
        ({"max_output_tokens": 2**31}, "max_output_tokens"),
        ({"max_output_tokens": 5, "default_output_tokens": 6}, "default_output_tokens"),
        ({"max_choices": 1001}, "max_choices"),
        ({"timeout_s": 1.5}, "timeout_s"),
        ({"supports_tools": 1}, "supports_tools"),
    ],
)
def test_field_that_is_wrong_makes_nothing(operator, more, loc):
    assert located(create(operator, **more)) == [["body", loc]]
    assert (ModelAlias.objects.count(), AuditEntry.objects.count()) == (0, 0)


@pytest.mark.parametrize("prices", [{"pricing_input": 1}, {"pricing_output": 1}])
def test_half_a_price_is_refused(operator, prices):
    answer = create(operator, **prices)

    assert answer.status_code == 400
    assert "Give both prices (pricing_input, pricing_output) or none" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("price", "nanousd"), [(0, 0), (1e-9, 1), (0.3, 300_000_000), (999_999.999999999, 999_999_999_999_999)]
)
def test_price_is_kept_exactly_and_shown_again(operator, price, nanousd):
    body = create(operator, pricing_input=price, pricing_output=price).json()

    assert ModelAlias.objects.get().input_nanousd_per_mtok == nanousd
    assert body["pricing_input"] == price


# --- Read --------------------------------------------------------------------------------------------------


def test_unknown_alias_has_its_text(operator):
    for send in (operator.get, operator.put, operator.delete):
        answer = send("/api/models/nope")
        assert (answer.status_code, answer.json()["detail"]) == (404, "Model alias 'nope' not found")


def test_list_is_an_array_that_is_narrowed_and_paged(operator):
    make.alias("a", provider="openai")
    make.alias("b", provider="anthropic", status="inactive")
    make.alias("c", provider="anthropic")
    make.access_group("basic", "c", "b")

    def names(**query):
        return [each["model_alias"] for each in operator.get("/api/models", **query).json()]

    assert names() == ["a", "b", "c"]
    assert names(status="active") == ["a", "c"]
    assert names(provider="anthropic") == ["b", "c"]
    assert names(access_group="basic") == ["b", "c"]
    assert names(access_group="basic", status="inactive", provider="anthropic") == ["b"]
    assert names(access_group="nope") == []
    assert names(limit=1, offset=1) == ["b"]


@pytest.mark.parametrize("query", ["status=asleep", "status=", "provider=", "provider=a%00b", "access_group=%00"])
def test_filter_that_cannot_be_is_refused(operator, query):
    assert located(operator.get(f"/api/models?{query}")) == [["query", query.split("=")[0]]]


def test_list_takes_five_queries(operator, django_assert_num_queries):
    for number in range(3):
        make.alias(f"m{number}")
        make.access_group(f"g{number}", f"m{number}")
        make.customer(access_groups=[f"g{number}", f"m{number}"])

    with django_assert_num_queries(5):
        listed = operator.get("/api/models").json()
    assert [len(each["teams_using"]) for each in listed] == [1, 1, 1]


def test_teams_using_an_alias_are_named(operator):
    create(operator)
    make.access_group("basic", "gpt")
    make.customer(team_id="two", access_groups=["basic"])
    make.customer(team_id="one", access_groups=["gpt"])

    assert operator.get("/api/models/gpt").json()["teams_using"] == ["one", "two"]


# --- Change ------------------------------------------------------------------------------------------------


def test_change_keeps_what_is_not_given(operator):
    make.access_group("basic")
    create(operator, access_groups=["basic"], pricing_input=1, pricing_output=2, **LIMITS)

    body = operator.put(
        "/api/models/gpt",
        {"display_name": "GPT-9", "actual_model": "gpt-9.1", "status": "deprecated", "pricing_output": 3},
    ).json()

    assert (body["display_name"], body["actual_model"], body["status"]) == ("GPT-9", "gpt-9.1", "deprecated")
    assert (body["provider"], body["access_groups"]) == ("openai", ["basic"])
    assert (body["pricing_input"], body["pricing_output"], body["timeout_s"]) == (1, 3, 60)
    audited = AuditEntry.objects.get(action="alias.update")
    assert (audited.object_id, audited.actor) == ("gpt", "operator:master-key")
    assert set(audited.after) == {"display_name", "provider_model", "status", "output_nanousd_per_mtok"}


def test_null_clears_prices_and_limits_and_nothing_else(operator):
    make.access_group("basic")
    create(operator, access_groups=["basic"], description="Fast", pricing_input=1, pricing_output=2, **LIMITS)
    nulls = dict.fromkeys(
        ["display_name", "provider", "actual_model", "status", "description", "access_groups", "is_open"]
    )

    body = operator.put(
        "/api/models/gpt",
        {**nulls, "pricing_input": None, "pricing_output": None, "supports_vision": None, "timeout_s": None},
    ).json()

    assert (body["pricing_input"], body["pricing_output"], body["supports_vision"], body["timeout_s"]) == (None,) * 4
    assert (body["display_name"], body["status"], body["description"]) == ("GPT", "active", "Fast")
    assert (body["access_groups"], body["is_open"], body["max_choices"]) == (["basic"], False, 8)


def test_access_groups_are_replaced_by_a_change(operator):
    for name in ("one", "two"):
        make.access_group(name)
    create(operator, access_groups=["one"])

    assert operator.put("/api/models/gpt", {"access_groups": ["two"]}).json()["access_groups"] == ["two"]
    assert operator.put("/api/models/gpt", {"access_groups": []}).json()["access_groups"] == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"status": "asleep"}, 422),
        ({"pricing_input": None}, 400),
        ({"access_groups": ["nope"]}, 404),
        ({"default_output_tokens": 16_385}, 422),
        ({"is_default": True, "status": "inactive"}, 422),
    ],
)
def test_refused_change_changes_nothing(operator, body, status):
    before = create(operator, pricing_input=1, pricing_output=2, **LIMITS).json()

    answer = operator.put("/api/models/gpt", {"display_name": "Changed", **body})

    assert answer.status_code == status
    assert operator.get("/api/models/gpt").json() == before


# --- Delete ------------------------------------------------------------------------------------------------


def test_alias_is_deleted_when_nobody_uses_it(operator):
    create(operator)
    customer = make.customer(team_id="dev", access_groups=["gpt"])

    refused = operator.delete("/api/models/gpt")
    assert (refused.status_code, refused.json()["code"]) == (400, "still_in_use")
    assert refused.json()["detail"] == "Cannot delete model alias 'gpt' - still in use by teams: dev"

    operator.put(f"/api/teams/{customer.team.team_id}/access-groups", [])
    answer = operator.delete("/api/models/gpt")
    assert (answer.status_code, answer.json()) == (200, {"message": "Model alias 'gpt' deleted successfully"})
    assert operator.get("/api/models/gpt").status_code == 404


# --- The shorter words -------------------------------------------------------------------------------------


def test_alias_by_its_litellm_model(operator):
    body = operator.post(
        "/api/model-aliases/create",
        {"alias": "gpt", "litellm_model": "openai/gpt-9", "description": "Fast", "active": False},
    ).json()

    assert (body["alias"], body["litellm_model"], body["active"]) == ("gpt", "openai/gpt-9", False)
    assert (body["provider"], body["actual_model"], body["display_name"]) == ("openai", "openai/gpt-9", "gpt")
    assert operator.get("/api/model-aliases/gpt").json() == body
    assert operator.get("/api/model-aliases").json()["aliases"] == [body]
    assert set(operator.get("/api/models/gpt").json()) == set(body) - {
        "alias",
        "litellm_model",
        "active",
        "teams_with_access",
    }

    changed = operator.put("/api/model-aliases/gpt", {"litellm_model": "gpt-10", "active": True}).json()
    assert (changed["litellm_model"], changed["provider"], changed["active"]) == ("gpt-10", "", True)
    assert changed["description"] == "Fast"
    assert operator.delete("/api/model-aliases/gpt").json()["message"] == "Model alias 'gpt' deleted successfully"


@pytest.mark.parametrize(
    ("body", "locs"),
    [
        ({}, [["body", "alias"], ["body", "litellm_model"]]),
        ({"alias": "gpt", "litellm_model": ""}, [["body", "litellm_model"]]),
        ({"alias": "gpt", "litellm_model": "x", "active": "yes"}, [["body", "active"]]),
    ],
)
def test_short_alias_with_a_wrong_field_makes_nothing(operator, body, locs):
    assert sorted(located(operator.post("/api/model-aliases/create", body))) == locs
    assert not ModelAlias.objects.exists()


def test_alias_may_be_answered_without_litellm(operator):
    assert create(operator, route="openai").json()["route"] == "openai"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"route": "demo"}, "route"),
        ({"route": "litellm_sdk"}, "route"),
        ({"route": "openai", "provider": "acme"}, "provider"),
    ],
)
def test_route_on_which_nothing_can_answer_is_refused(operator, monkeypatch, more, field):
    monkeypatch.setattr("apps.catalog.routes.find_spec", lambda name: None)
    assert located(create(operator, **more)) == [["body", field]]
    assert not ModelAlias.objects.exists()

    create(operator)
    assert located(operator.put("/api/models/gpt", more)) == [["body", field]]
    assert ModelAlias.objects.get().route == "litellm"


def test_route_of_what_is_installed_may_be_chosen_and_is_not_judged_again(operator, monkeypatch, settings):
    settings.EMBEDDED = True
    monkeypatch.setattr("apps.catalog.routes.find_spec", lambda name: name)
    create(operator)
    for route in ("demo", "litellm_sdk"):
        assert operator.put("/api/models/gpt", {"route": route}).json()["route"] == route

    monkeypatch.setattr("apps.catalog.routes.find_spec", lambda name: None)
    assert operator.put("/api/models/gpt", {"route": "litellm_sdk", "description": "x"}).status_code == 200
