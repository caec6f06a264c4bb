"""Access groups over HTTP, and what a team with one may ask for."""

import pytest

from apps.catalog.models import AccessGroup
from apps.core.models import AuditEntry
from tests import make
from tests.api.calling import ask, located, opened_job

PATH = "/api/model-access-groups"


@pytest.fixture(autouse=True)
def _aliases(db):
    for name in ("a", "b", "c"):
        make.alias(name, provider="openai", display_name=name.upper())


def names(answer):
    assert answer.status_code == 200, answer.content
    return [each["model_alias"] for each in answer.json()["model_aliases"]]


def test_created_group_in_full(operator):
    answer = operator.post(
        f"{PATH}/create",
        {"group_name": "basic", "display_name": "Basic", "model_aliases": ["b", "a"], "description": "For all"},
    )

    body = answer.json()
    assert (body["group_name"], body["display_name"], body["description"]) == ("basic", "Basic", "For all")
    assert (body["status"], body["teams_using"]) == ("active", [])
    assert body["model_aliases"] == [
        {"model_alias": "b", "display_name": "B", "provider": "openai", "actual_model": "provider/b"},
        {"model_alias": "a", "display_name": "A", "provider": "openai", "actual_model": "provider/a"},
    ]
    assert (body["created_at"][-1], body["updated_at"][-1]) == ("Z", "Z")
    assert operator.get(f"{PATH}/basic").json() == body


def test_group_needs_no_more_than_a_name(operator):
    body = operator.post(
        f"{PATH}/create", {"group_name": "basic", "display_name": None, "model_aliases": None}
    ).json()

    assert (body["display_name"], body["model_aliases"], body["description"]) == ("basic", [], None)


def test_duplicate_and_unknown_names_have_their_texts(operator):
    make.access_group("basic")

    taken = operator.post(f"{PATH}/create", {"group_name": "basic"})
    unknown = operator.post(f"{PATH}/create", {"group_name": "other", "model_aliases": ["a", "nope"]})

    assert (taken.status_code, taken.json()["detail"]) == (400, "Model access group 'basic' already exists")
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "Model alias 'nope' not found")
    assert AccessGroup.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, ["body", "group_name"]),
        ({"group_name": "a/b"}, ["body", "group_name"]),
        ({"group_name": "x" * 101}, ["body", "group_name"]),
        ({"group_name": "basic", "display_name": 5}, ["body", "display_name"]),
        ({"group_name": "basic", "model_aliases": [{"model_alias": "a"}]}, ["body", "model_aliases", 0]),
    ],
)
def test_field_that_is_wrong_makes_nothing(operator, body, loc):
    assert located(operator.post(f"{PATH}/create", body)) == [loc]
    assert (AccessGroup.objects.count(), AuditEntry.objects.count()) == (0, 0)


@pytest.mark.parametrize(
    ("verb", "suffix"),
    [
        ("get", ""),
        ("put", ""),
        ("delete", ""),
        ("put", "/models"),
        ("post", "/add-models"),
        ("post", "/remove-models"),
    ],
)
def test_unknown_group_has_its_text(operator, verb, suffix):
    body = () if verb in ("get", "delete") else ({"model_aliases": ["a"]},)

    answer = getattr(operator, verb)(f"{PATH}/nope{suffix}", *body)

    assert (answer.status_code, answer.json()["detail"]) == (404, "Model access group 'nope' not found")


def test_list_is_an_array_that_is_narrowed_and_paged(operator, django_assert_num_queries):
    for number, status in enumerate(("active", "inactive", "active")):
        make.access_group(f"g{number}", "a", status=status)
        make.customer(team_id=f"t{number}", access_groups=[f"g{number}"])

    def listed(**query):
        return [(each["group_name"], each["teams_using"]) for each in operator.get(PATH, **query).json()]

    with django_assert_num_queries(5):
        assert listed() == [("g0", ["t0"]), ("g1", ["t1"]), ("g2", ["t2"])]
    assert listed(status="inactive") == [("g1", ["t1"])]
    assert listed(limit=1, offset=2) == [("g2", ["t2"])]
    assert located(operator.get(f"{PATH}?status=deprecated")) == [["query", "status"]]


def test_change_keeps_what_is_not_given(operator):
    make.access_group("basic", "a", description="old")

    body = operator.put(f"{PATH}/basic", {"display_name": "Basic", "description": None, "status": "inactive"}).json()

    assert (body["display_name"], body["description"], body["status"]) == ("Basic", "old", "inactive")
    assert [each["model_alias"] for each in body["model_aliases"]] == ["a"]
    assert located(operator.put(f"{PATH}/basic", {"status": "deprecated"})) == [["body", "status"]]


def test_aliases_are_replaced_added_and_removed(operator):
    make.access_group("basic", "a")

    assert names(operator.put(f"{PATH}/basic/models", {"model_aliases": ["b", "c"]})) == ["b", "c"]
    assert names(operator.put(f"{PATH}/basic/models", ["c", "b"])) == ["b", "c"]
    assert names(operator.post(f"{PATH}/basic/add-models", {"model_aliases": ["a", "b"]})) == ["b", "c", "a"]
    assert names(operator.post(f"{PATH}/basic/remove-models", {"model_aliases": ["b"]})) == ["c", "a"]
    assert names(operator.put(f"{PATH}/basic/models", [])) == []


@pytest.mark.parametrize(("verb", "path"), [("put", "models"), ("post", "add-models"), ("post", "remove-models")])
def test_aliases_of_another_form_or_unknown_change_nothing(operator, verb, path):
    make.access_group("basic", "a")
    send = getattr(operator, verb)

    assert located(send(f"{PATH}/basic/{path}", {})) == [["body", "model_aliases"]]
    assert located(send(f"{PATH}/basic/{path}", {"model_aliases": "a"})) == [["body", "model_aliases"]]
    assert located(send(f"{PATH}/basic/{path}", ["a", 1])) == [["body", "model_aliases", 1]]
    answer = send(f"{PATH}/basic/{path}", ["a", "nope"])
    assert (answer.status_code, answer.json()["detail"]) == (404, "Model alias 'nope' not found")
    assert names(operator.get(f"{PATH}/basic")) == ["a"]


def test_group_in_use_is_not_deleted(operator):
    make.access_group("basic", "a")
    make.customer(team_id="dev", access_groups=["basic"])

    answer = operator.delete(f"{PATH}/basic")
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "Cannot delete access group 'basic' - still in use by teams: dev",
    )

    operator.put("/api/teams/dev/access-groups", [])
    answer = operator.delete(f"{PATH}/basic")
    assert answer.json() == {"message": "Model access group 'basic' deleted successfully"}
    assert operator.get(f"{PATH}/basic").status_code == 404


# --- Teams -------------------------------------------------------------------------------------------------


def test_team_is_created_with_groups_and_told_what_it_may_ask_for(operator):
    make.organization("initech")
    make.access_group("basic", "b", "a")
    make.model_group("agent", "c")

    body = operator.post(
        "/api/teams/create",
        {
            "organization_id": "initech",
            "team_id": "dev",
            "access_groups": ["basic"],
            "model_groups": ["agent"],
            "default_model": "agent",
        },
    ).json()

    assert (body["access_groups"], body["model_groups"], body["default_model"]) == (["basic"], ["agent"], "agent")
    assert body["allowed_model_aliases"] == body["allowed_models"] == ["a", "agent", "b"]


def test_model_group_among_access_groups_is_taken_as_one(operator):
    make.organization("initech")
    make.model_group("agent", "c")

    body = operator.post(
        "/api/teams/create", {"organization_id": "initech", "team_id": "dev", "access_groups": ["agent"]}
    ).json()

    assert (body["access_groups"], body["model_groups"], body["allowed_models"]) == ([], ["agent"], ["agent"])


def test_call_may_name_what_its_groups_lend_and_nothing_else(acme, operator, team_key, worker):
    make.access_group("basic", "a")
    make.model_group("agent", "c", "b")
    operator.put("/api/teams/acme", {"access_groups": ["basic"], "model_groups": ["agent"]})
    job = opened_job(team_key)

    for name in ("a", "agent"):
        assert ask(team_key, job, model=name).json()["model"] == name
    refused = ask(team_key, job, model="c")
    assert (refused.status_code, refused.json()["detail"]) == (
        403,
        "Team 'acme' does not have access to model alias 'c'",
    )

    operator.put(f"{PATH}/basic", {"status": "inactive"})
    assert ask(team_key, job, model="a").status_code == 403
