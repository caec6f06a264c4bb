"""Organizations over HTTP."""

import pytest

from apps.core.models import AuditEntry
from apps.organizations.models import Organization
from apps.teams.models import Team
from apps.virtual_keys import services as virtual_keys
from tests import make
from tests.api.calling import Caller, located, opened_job


def create(operator, organization_id="initech", **more):
    return operator.post("/api/organizations/create", {"organization_id": organization_id, "name": "Initech", **more})


# --- Create ------------------------------------------------------------------------------------------------


def test_created_organization_has_a_default_team_with_a_working_key(operator):
    make.alias("chat-fast")

    answer = create(
        operator,
        metadata={"crm": 17},
        default_team_name="Everyone",
        default_team_access_groups=["chat-fast"],
        default_team_credits=50,
    ).json()

    assert answer["organization_id"] == "initech"
    assert (answer["name"], answer["status"], answer["metadata"]) == ("Initech", "active", {"crm": 17})
    assert answer["created_at"].endswith("Z")
    team = answer["default_team"]
    assert (team["team_id"], team["team_alias"]) == ("initech_default", "Everyone")
    assert (team["access_groups"], team["allowed_model_aliases"]) == (["chat-fast"], ["chat-fast"])
    assert (team["credits_allocated"], team["credits_remaining"]) == (50, 50)
    own = Caller({"Authorization": f"Bearer {team['virtual_key']}"}).get("/api/teams/verify")
    assert own.json() == {"team_id": "initech_default", "organization_id": "initech", "status": "active"}


def test_default_team_is_made_unless_told_otherwise(operator):
    assert create(operator).json()["default_team"]["team_id"] == "initech_default"
    assert create(operator, "hooli", create_default_team=False).json()["default_team"] is None
    assert not Team.objects.filter(organization__organization_id="hooli").exists()


def test_default_team_takes_model_groups_too(operator):
    make.alias("chat-fast")

    team = create(operator, default_team_model_groups=["chat-fast"]).json()["default_team"]

    assert (team["access_groups"], team["model_groups"]) == ([], ["chat-fast"])


@pytest.mark.parametrize(
    ("more", "organization_id", "error"),
    [
        ({"default_team_access_groups": ["nope"]}, "initech", "Model access group 'nope' not found"),
        ({"default_team_model_groups": ["nope"]}, "initech", "Model group 'nope' not found"),
        ({}, "i" * 250, "Must have at most 255 characters."),
        ({}, "taken", "Team 'taken_default' already exists"),
    ],
)
def test_organization_is_made_even_when_its_team_cannot_be(operator, more, organization_id, error):
    make.customer(team_id="taken_default")

    answer = create(operator, organization_id, **more)

    assert answer.status_code == 200
    assert answer.json()["default_team"] == {"error": error}
    assert Organization.objects.filter(organization_id=organization_id).exists()
    assert not Team.objects.filter(organization__organization_id=organization_id).exists()


def test_creating_leaves_audit_rows(operator):
    create(operator, default_team_credits=5)

    actions = {entry.action: entry for entry in AuditEntry.objects.all()}

    assert {"organization.create", "team.create", "team.credits", "key.issue"} <= set(actions)
    assert actions["organization.create"].actor == "operator:master-key"
    assert actions["organization.create"].address == "127.0.0.1"
    assert actions["team.credits"].after == {"credits_allocated": "5"}


# --- Read --------------------------------------------------------------------------------------------------


def test_one_organization_by_operator_and_by_its_own_key(acme, operator, team_key):
    path = f"/api/organizations/{acme.organization.organization_id}"

    by_operator, by_key = operator.get(path).json(), team_key.get(path).json()

    assert by_key == {name: value for name, value in by_operator.items() if name != "status_reason"}
    assert set(by_key) == {
        "organization_id",
        "name",
        "status",
        "display_currency",
        "metadata",
        "time_zone",
        "stores_content",
        "content_retention_h",
        "created_at",
        "updated_at",
        "default_team",
    }
    assert by_key["default_team"] is None


def test_content_is_stored_only_where_the_organization_says(acme, operator):
    path = f"/api/organizations/{acme.organization.organization_id}"
    assert operator.get(path).json()["stores_content"] is False

    changed = operator.put(path, {"stores_content": True, "content_retention_h": 72}).json()
    assert (changed["stores_content"], changed["content_retention_h"]) == (True, 72)
    row = AuditEntry.objects.get(action="organization.content")
    assert row.before == {"stores_content": False, "content_retention_h": None}

    # What is left out stays; null is the default again.
    assert operator.put(path, {"time_zone": "Europe/Berlin"}).json()["content_retention_h"] == 72
    assert operator.put(path, {"content_retention_h": None}).json()["content_retention_h"] is None
    assert operator.get(path).json()["stores_content"] is True


@pytest.mark.parametrize("hours", [0, -1, 366 * 24 + 1])
def test_absurd_retention_is_refused_and_changes_nothing(acme, operator, hours):
    path = f"/api/organizations/{acme.organization.organization_id}"
    answer = operator.put(path, {"time_zone": "Europe/Berlin", "content_retention_h": hours})
    assert located(answer) == [["body", "content_retention_h"]]
    assert operator.get(path).json()["time_zone"] == "UTC"


def test_an_update_of_nothing_is_refused(acme, operator):
    assert operator.put(f"/api/organizations/{acme.organization.organization_id}", {}).status_code == 422


def test_list_has_the_active_ones_in_order(operator):
    for name in ("c", "a", "b"):
        create(operator, name, create_default_team=False)
    operator.post("/api/organizations/b/suspend")

    def listed(query=""):
        return [each["organization_id"] for each in operator.get(f"/api/organizations{query}").json()]

    assert listed() == ["a", "c"]
    assert listed("?status=suspended") == ["b"]
    assert listed("?status=all") == ["a", "b", "c"]
    assert listed("?status=all&limit=1&offset=1") == ["b"]
    assert listed("?offset=9") == []


def test_list_of_an_unknown_status_is_refused(operator):
    assert located(operator.get("/api/organizations?status=gone")) == [["query", "status"]]


def test_teams_of_an_organization(acme, globex, operator):
    make.customer(team_id="zeta", org=acme.organization, credits=7)
    organization_id = acme.organization.organization_id

    answer = operator.get(f"/api/organizations/{organization_id}/teams").json()
    page = operator.get(f"/api/organizations/{organization_id}/teams?limit=1&offset=1").json()

    assert (answer["organization_id"], answer["team_count"]) == (organization_id, 2)
    assert [team["team_id"] for team in answer["teams"]] == ["acme", "zeta"]
    assert {"access_groups", "credits_allocated", "credits_remaining"} <= set(answer["teams"][0])
    assert answer["teams"][1]["credits_allocated"] == 7
    assert (page["team_count"], [team["team_id"] for team in page["teams"]]) == (2, ["zeta"])


def test_lists_take_a_constant_number_of_queries(acme, operator, django_assert_num_queries):
    organization_id = acme.organization.organization_id
    for _ in range(2):
        with django_assert_num_queries(2):
            operator.get("/api/organizations?status=all")
        with django_assert_num_queries(11):
            operator.get(f"/api/organizations/{organization_id}/teams")
        for _ in range(3):
            make.customer(org=acme.organization)
            make.organization()


# --- Suspend and resume ------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["put", "post"])
def test_suspend_and_resume_by_put_and_post(acme, operator, team_key, verb):
    path = f"/api/organizations/{acme.organization.organization_id}"
    send = getattr(operator, verb)

    suspended = send(f"{path}/suspend", {"reason": "unpaid"}).json()
    assert (suspended["status"], suspended["previous_status"], suspended["reason"]) == (
        "suspended",
        "active",
        "unpaid",
    )
    assert suspended["updated_at"].endswith("Z")
    assert operator.get(path).json()["status_reason"] == "unpaid"
    assert team_key.post("/api/jobs/create", {"team_id": "acme", "job_type": "q"}).status_code == 403

    resumed = send(f"{path}/resume").json()
    virtual_keys.forget_cached()
    assert (resumed["status"], resumed["previous_status"], resumed["reason"]) == ("active", "suspended", None)
    assert opened_job(team_key)


def test_status_by_name(acme, operator):
    path = f"/api/organizations/{acme.organization.organization_id}/status"

    answer = operator.put(path, {"status": "suspended", "reason": "fraud"}).json()

    assert {name: answer[name] for name in ("status", "previous_status", "reason")} == {
        "status": "suspended",
        "previous_status": "active",
        "reason": "fraud",
    }
    assert located(operator.put(path, {"status": "closed"})) == [["body", "status"]]
    assert located(operator.put(path, {})) == [["body", "status"]]
    assert Organization.objects.get(pk=acme.organization.pk).status == "suspended"


def test_suspending_is_audited_once(acme, operator):
    path = f"/api/organizations/{acme.organization.organization_id}/suspend"
    for _ in range(2):
        operator.post(path, {"reason": "unpaid"})

    entry = AuditEntry.objects.get(action="organization.status")

    assert (entry.before, entry.after, entry.reason) == ({"status": "active"}, {"status": "suspended"}, "unpaid")
