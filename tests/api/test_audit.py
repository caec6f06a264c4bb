"""The audit log over HTTP: newest first, narrowed by what one asks about."""

from datetime import timedelta
from typing import Any

import pytest

from apps.core.models import AuditEntry
from tests import make
from tests.api.calling import Caller, located


def actions(caller: Caller, **query: Any) -> list[str]:
    answer = caller.get("/api/audit", limit=200, **query)
    assert answer.status_code == 200, answer.content
    return [entry["action"] for entry in answer.json()["entries"]]


@pytest.fixture
def history(acme: make.Customer, globex: make.Customer) -> Caller:
    """What Sam and Vera did: suspended acme, issued it a key, and were refused."""
    sam = Caller(make.operator("support", email="sam@example.com").headers)
    vera = Caller(make.operator("viewer", email="vera@example.com").headers)
    assert sam.put("/api/teams/acme/suspend", {"reason": "chargeback"}).status_code == 200
    assert sam.post("/api/teams/acme/keys", {}).status_code == 200
    assert vera.put("/api/teams/globex/suspend").status_code == 403
    return vera


def test_newest_first_with_who_what_and_why(history: Caller):
    newest, key, suspended = history.get("/api/audit", limit=3).json()["entries"]
    assert [each["action"] for each in (newest, key, suspended)] == ["refused", "key.issue", "team.status"]
    assert suspended["actor"] == "operator:sam@example.com"
    assert suspended["via"].startswith("op-")
    assert (suspended["before"], suspended["after"]) == ({"status": "active"}, {"status": "suspended"})
    assert (suspended["reason"], suspended["address"]) == ("chargeback", "127.0.0.1")
    assert history.get(f"/api/audit/{suspended['audit_id']}").json() == suspended


def test_pages_say_whether_there_are_more(history: Caller):
    total = AuditEntry.objects.count()
    first = history.get("/api/audit", limit=total - 1).json()
    rest = history.get("/api/audit", limit=total, offset=total - 1).json()
    assert (first["has_more"], rest["has_more"], len(rest["entries"])) == (True, False, 1)
    assert rest["entries"][0] not in first["entries"]


def test_filters(history: Caller, acme: make.Customer):
    assert actions(history, actor="sam@example.com") == ["key.issue", "team.status"]
    assert actions(history, actor="operator:vera@example.com") == ["refused"]
    assert actions(history, action="team.status") == ["team.status"]
    assert set(actions(history, action="key.")) == {"key.issue"}
    assert actions(history, refused="true") == ["refused"]
    assert "refused" not in actions(history, refused="false")
    assert actions(history, object_kind="team", object_id="globex")[0] == "refused"
    assert actions(history, address="127.0.0.1") == ["refused", "key.issue", "team.status"]
    assert actions(history, address="203.0.113.1") == []
    assert actions(history, actor="nobody") == []


def test_an_organizations_entries_are_of_its_teams_keys_and_members(
    history: Caller, acme: make.Customer, operator: Caller
):
    organization_id = acme.organization.organization_id
    operator.post(f"/api/organizations/{organization_id}/members", {"email": "a@example.com", "role": "viewer"})

    found = history.get("/api/audit", organization_id=organization_id, limit=200).json()["entries"]

    assert {each["object_kind"] for each in found} == {"organization", "team", "key", "member"}
    assert {each["object_id"] for each in found if each["object_kind"] == "team"} == {"acme"}
    assert [each["action"] for each in found][:3] == ["member.invite", "key.issue", "team.status"]
    assert history.get("/api/audit", organization_id="nothing").status_code == 404


def test_from_and_to(history: Caller):
    newest = AuditEntry.objects.order_by("-created_at", "-id").first()
    assert newest is not None
    before = (newest.created_at - timedelta(milliseconds=1)).isoformat()
    after = (newest.created_at + timedelta(milliseconds=1)).isoformat()
    assert "refused" in actions(history, **{"from": before, "to": after})
    assert "refused" not in actions(history, to=before)
    assert actions(history, **{"from": after}) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"refused": "maybe"}, "refused"),
        ({"actor": ""}, "actor"),
        ({"limit": 0}, "limit"),
    ],
)
def test_bad_filters_are_named(history: Caller, query: dict[str, Any], field: str):
    assert located(history.get("/api/audit", **query)) == [["query", field]]


def test_what_does_not_exist_is_404(operator: Caller):
    for id in ("nothing", "00000000-0000-7000-8000-000000000000"):
        answer = operator.get(f"/api/audit/{id}")
        assert (answer.status_code, answer.json()["code"]) == (404, "audit_entry_not_found")
