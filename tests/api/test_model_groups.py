"""Model groups over HTTP, and what a team is told of what stands behind one."""

import uuid

import pytest

from apps.catalog.models import ModelGroup, ModelGroupMember
from apps.core.models import AuditEntry
from apps.virtual_keys import services as virtual_keys
from tests import make
from tests.api.calling import Caller, located

PATH = "/api/model-groups"


@pytest.fixture(autouse=True)
def _aliases(db):
    for name in ("a", "b"):
        make.alias(name)


def models(answer):
    assert answer.status_code == 200, answer.content
    return [(each["model_name"], each["priority"]) for each in answer.json()["models"]]


def test_created_group_in_full(operator):
    answer = operator.post(
        f"{PATH}/create",
        {
            "group_name": "ChatAgent",
            "display_name": "Chat Agent",
            "description": "Chats",
            "models": [{"model_name": "gpt-9", "priority": 1}, {"model_name": "a", "priority": 0}],
        },
    )

    body = answer.json()
    assert (body["group_name"], body["display_name"], body["description"]) == ("ChatAgent", "Chat Agent", "Chats")
    assert (body["status"], str(uuid.UUID(body["model_group_id"]))) == ("active", body["model_group_id"])
    assert [(each["model_name"], each["priority"], each["is_alias"]) for each in body["models"]] == [
        ("a", 0, True),
        ("gpt-9", 1, False),
    ]
    first = body["models"][0]
    assert set(first) >= {"id", "model_group_id", "model_name", "priority", "is_active", "created_at"}
    assert (first["model_group_id"], first["is_active"]) == (body["model_group_id"], True)
    assert operator.get(f"{PATH}/ChatAgent").json() == body


@pytest.mark.parametrize("more", [{}, {"models": None}, {"models": []}])
def test_group_needs_no_more_than_a_name(operator, more):
    body = operator.post(f"{PATH}/create", {"group_name": "agent", **more}).json()

    assert (body["display_name"], body["models"], body["description"]) == ("agent", [], None)


def test_duplicate_has_its_text(operator):
    make.model_group("agent", "a")

    answer = operator.post(f"{PATH}/create", {"group_name": "agent"})

    assert (answer.status_code, answer.json()["detail"]) == (400, "Model group 'agent' already exists")


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, ["body", "group_name"]),
        ({"group_name": "a/b"}, ["body", "group_name"]),
        ({"group_name": "agent", "models": ["a"]}, ["body", "models", 0]),
        ({"group_name": "agent", "models": [{"priority": 0}]}, ["body", "models", 0, "model_name"]),
        ({"group_name": "agent", "models": [{"model_name": ""}]}, ["body", "models", 0, "model_name"]),
        ({"group_name": "agent", "models": [{"model_name": "a", "priority": -1}]}, ["body", "models", 0, "priority"]),
        (
            {"group_name": "agent", "models": [{"model_name": "a", "priority": 1e9}]},
            ["body", "models", 0, "priority"],
        ),
        ({"group_name": "agent", "models": [{"model_name": "a"}, {"model_name": "a"}]}, ["body", "models"]),
        ({"group_name": "agent", "models": [{"model_name": f"m{n}"} for n in range(101)]}, ["body", "models"]),
    ],
)
def test_field_that_is_wrong_makes_nothing(operator, body, loc):
    assert located(operator.post(f"{PATH}/create", body)) == [loc]
    assert (ModelGroup.objects.count(), AuditEntry.objects.count()) == (0, 0)


@pytest.mark.parametrize(("verb", "suffix"), [("get", ""), ("put", ""), ("delete", ""), ("put", "/models")])
def test_unknown_group_has_its_text(operator, verb, suffix):
    body = ([],) if suffix else ()

    answer = getattr(operator, verb)(f"{PATH}/nope{suffix}", *body)

    assert (answer.status_code, answer.json()["detail"]) == (404, "Model group 'nope' not found")


def test_list_is_an_array_that_is_narrowed_and_paged(operator, django_assert_num_queries):
    for number, status in enumerate(("active", "inactive", "active")):
        make.model_group(f"g{number}", "a", "raw", status=status)

    def names(**query):
        return [each["group_name"] for each in operator.get(PATH, **query).json()]

    with django_assert_num_queries(4):
        assert names() == ["g0", "g1", "g2"]
    assert names(status="inactive") == ["g1"]
    assert names(limit=1, offset=1) == ["g1"]
    assert located(operator.get(f"{PATH}?status=x")) == [["query", "status"]]


def test_change_keeps_what_is_not_given(operator):
    make.model_group("agent", "a", description="old")

    body = operator.put(f"{PATH}/agent", {"display_name": "Agent", "status": "inactive"}).json()

    assert (body["display_name"], body["description"], body["status"]) == ("Agent", "old", "inactive")
    assert [each["model_name"] for each in body["models"]] == ["a"]


@pytest.mark.parametrize("is_bare", [True, False])
def test_models_are_replaced_by_an_array_bare_or_named(operator, is_bare):
    make.model_group("agent", "a", "b")
    wanted = [{"model_name": "gpt-9", "priority": 5, "is_active": False}, {"model_name": "b"}]

    answer = operator.put(f"{PATH}/agent/models", wanted if is_bare else {"models": wanted})

    assert models(answer) == [("b", 0), ("gpt-9", 5)]
    assert (answer.json()["group_name"], answer.json()["models"][1]["is_active"]) == ("agent", False)
    assert models(operator.get(f"{PATH}/agent")) == [("b", 0), ("gpt-9", 5)]


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, ["body", "models"]),
        ({"models": None}, ["body", "models"]),
        ([1], ["body", "models", 0]),
        ([{"model_name": "a"}, {"model_name": 1}], ["body", "models", 1, "model_name"]),
        ([{"model_name": "a"}, {"model_name": "a"}], ["body", "models"]),
    ],
)
def test_models_of_another_form_change_nothing(operator, body, loc):
    make.model_group("agent", "b")

    assert located(operator.put(f"{PATH}/agent/models", body)) == [loc]
    assert models(operator.get(f"{PATH}/agent")) == [("b", 0)]


def test_group_in_use_is_not_deleted(operator):
    make.model_group("agent", "a")
    make.customer(team_id="dev", model_groups=["agent"])

    answer = operator.delete(f"{PATH}/agent")
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "Cannot delete model group 'agent'. It is assigned to 1 team(s).",
    )

    operator.put("/api/teams/dev/model-groups", [])
    answer = operator.delete(f"{PATH}/agent")
    assert answer.json() == {"message": "Model group 'agent' deleted successfully"}
    assert (ModelGroup.objects.count(), ModelGroupMember.objects.count()) == (0, 0)


# --- Resolve -----------------------------------------------------------------------------------------------


@pytest.fixture
def agent(acme, operator):
    make.model_group("agent", "a", "gpt-9", "b")
    operator.put("/api/teams/acme/model-groups", ["agent"])


RESOLVED = {
    "group_name": "agent",
    "primary_model": "a",
    "fallback_models": ["gpt-9", "b"],
    "team_has_access": True,
}


def test_team_is_told_what_answers(agent, team_key, operator):
    assert team_key.get(f"{PATH}/agent/resolve", team_id="acme").json() == RESOLVED
    assert operator.get(f"{PATH}/agent/resolve", team_id="acme").json() == RESOLVED


def test_team_without_the_group_is_told_so_with_a_200(acme, team_key):
    make.model_group("agent", "a")

    answer = team_key.get(f"{PATH}/agent/resolve", team_id="acme")

    assert (answer.status_code, answer.json()) == (
        200,
        {
            "group_name": "agent",
            "primary_model": None,
            "fallback_models": [],
            "team_has_access": False,
            "error": "Team 'acme' does not have access to model group 'agent'",
        },
    )


def test_key_that_may_not_name_the_group_is_told_so(agent, acme):
    _, secret = virtual_keys.issue(acme.team, actor=make.TESTER, models_allowed=["a"])

    answer = Caller({"Authorization": f"Bearer {secret}"}).get(f"{PATH}/agent/resolve", team_id="acme")

    assert (answer.status_code, answer.json()["team_has_access"]) == (200, False)


def test_another_team_is_refused(agent, globex, team_key):
    for team_id in ("globex", "no-such-team"):
        answer = team_key.get(f"{PATH}/agent/resolve", team_id=team_id)
        assert (answer.status_code, answer.json()["detail"]) == (
            403,
            "Cannot resolve model group for a different team",
        )


@pytest.mark.parametrize("query", ["", "?team_id=", "?team_id=%00", "?team_id=" + "x" * 256])
def test_team_must_be_named(agent, team_key, operator, query):
    for caller in (team_key, operator):
        assert located(caller.get(f"{PATH}/agent/resolve{query}")) == [["query", "team_id"]]


def test_unknown_group_and_unknown_team_have_their_texts(agent, team_key, operator):
    answer = team_key.get(f"{PATH}/nope/resolve", team_id="acme")
    assert (answer.status_code, answer.json()["detail"]) == (404, "Model group 'nope' not found")

    answer = operator.get(f"{PATH}/agent/resolve", team_id="nope")
    assert (answer.status_code, answer.json()["detail"]) == (404, "Team 'nope' not found")


def test_group_that_cannot_answer_has_its_text(agent, operator, team_key):
    operator.put(f"{PATH}/agent", {"status": "inactive"})
    answer = team_key.get(f"{PATH}/agent/resolve", team_id="acme")
    assert (answer.status_code, answer.json()["detail"]) == (403, "Model group 'agent' not found or inactive")

    operator.put(f"{PATH}/agent", {"status": "active"})
    operator.put(f"{PATH}/agent/models", [])
    answer = team_key.get(f"{PATH}/agent/resolve", team_id="acme")
    assert (answer.status_code, answer.json()["detail"]) == (403, "No active models configured for group 'agent'")


def test_nobody_is_told_nothing(agent, nobody):
    assert nobody.get(f"{PATH}/agent/resolve", team_id="acme").status_code == 401


def test_model_names_its_route_and_provider(operator):
    asked = [
        {"model_name": "a", "priority": 0, "route": "openai"},
        {"model_name": "gpt-9", "priority": 1, "route": "openai", "provider": "openai"},
        {"model_name": "fireworks/llama", "priority": 2, "route": "openai"},
        {"model_name": "plain", "priority": 3},
    ]
    body = operator.post(f"{PATH}/create", {"group_name": "agent", "models": asked}).json()

    # An alias has its own.
    assert [(each["route"], each["provider"]) for each in body["models"]] == [
        ("demo", None),
        ("openai", "openai"),
        ("openai", "fireworks"),
        ("litellm", None),
    ]
    kept = operator.put(f"{PATH}/agent/models", [{"model_name": "gpt-9", "priority": 5}]).json()["models"]
    assert [(each["route"], each["provider"], each["priority"]) for each in kept] == [("openai", "openai", 5)]


@pytest.mark.parametrize(
    "wrong",
    [{"route": "openai"}, {"route": "openai", "provider": "acme"}, {"route": "demo"}, {"route": "x"}],
)
def test_model_that_could_never_answer_is_refused_and_nothing_is_changed(operator, wrong):
    make.model_group("agent", "a")
    answer = operator.put(f"{PATH}/agent/models", [{"model_name": "gpt-9", **wrong}])
    assert answer.status_code == 422, answer.content
    assert models(operator.get(f"{PATH}/agent")) == [("a", 0)]
