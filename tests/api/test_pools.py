"""An organization's pool over HTTP: filled, read, allocated to teams and reclaimed."""

import pytest

from apps.core.models import AuditEntry
from apps.credits.models import Account
from tests import make
from tests.credits import books


@pytest.fixture
def pool(acme, operator):
    """The paths of acme's organization; 50 credits are in its pool."""
    path = f"/api/credits/organizations/{acme.organization.organization_id}"
    assert operator.post(f"{path}/add", {"credits": 50, "reason": "Invoice 17"}).status_code == 200
    return path


def test_filled_pool_is_shown(acme, operator, pool):
    answer = operator.post(f"{pool}/add", {"credits": 5, "kind": "promotional"}).json()

    assert (answer["credits_added"], answer["credits_remaining"]) == (5, 55)
    assert (answer["transaction"]["transaction_type"], answer["transaction"]["team_id"]) == ("allocation", None)
    assert operator.get(f"{pool}/balance").json() == {
        "organization_id": acme.organization.organization_id,
        "credits_remaining": 55,
        "credits_exact": "55",
        "credits_allocated_to_teams": 0,
        "expiring_soon": [],
    }
    assert AuditEntry.objects.filter(action="organization.credits").count() == 2


def test_allocation_and_reclaim_move_between_pool_and_team(acme, operator, pool):
    given = operator.post(f"{pool}/allocate", {"team_id": "acme", "credits": 20}).json()
    assert (given["credits_allocated_now"], given["credits_remaining"], given["credits_allocated"]) == (20, 120, 120)
    assert (given["pool"]["credits_remaining"], given["pool"]["credits_allocated_to_teams"]) == (30, 20)
    assert (given["transaction"]["credits_before"], given["transaction"]["credits_after"]) == (100, 120)
    assert (given["pool_transaction"]["credits_before"], given["pool_transaction"]["credits_after"]) == (50, 30)

    back = operator.post(f"{pool}/reclaim", {"team_id": "acme", "credits": 15}).json()

    assert (back["credits_reclaimed"], back["credits_remaining"], back["credits_allocated"]) == (15, 105, 105)
    assert back["pool"]["credits_remaining"] == 45
    page = operator.get(f"{pool}/transactions").json()
    assert (page["total"], [each["credits_after"] for each in page["transactions"]]) == (3, [45, 30, 50])
    grants = operator.get("/api/credits/teams/acme/grants").json()["grants"]
    assert [each["source"] for each in grants] == ["grant", "pool"]


def test_b7_repeated_moves_move_once(operator, pool):
    for path, body in (
        ("allocate", {"team_id": "acme", "credits": 20}),
        ("reclaim", {"team_id": "acme", "credits": 5}),
    ):
        first = operator.post(f"{pool}/{path}", body, key=path).json()
        again = operator.post(f"{pool}/{path}", body, key=path)
        assert (again.json(), again["Idempotency-Replayed"]) == (first, "true")

    assert operator.get(f"{pool}/balance").json()["credits_remaining"] == 35


def test_moves_that_cannot_be_are_refused_in_numbers(acme, operator, pool):
    too_much = operator.post(f"{pool}/allocate", {"team_id": "acme", "credits": 51})
    assert (too_much.status_code, too_much.json()["code"]) == (400, "pool_too_small")
    assert too_much.json()["pool_micros"] == 50_000_000

    operator.post(f"{pool}/allocate", {"team_id": "acme", "credits": 20})
    books.hold(acme.team, 110, job="job")
    held = operator.post(f"{pool}/reclaim", {"team_id": "acme", "credits": 11})
    assert (held.status_code, held.json()["code"]) == (400, "reclaim_exceeds_allocation")
    assert held.json()["reclaimable_micros"] == 10_000_000


def test_pool_is_for_teams_of_its_organization(operator, pool, globex):
    for path in ("allocate", "reclaim"):
        answer = operator.post(f"{pool}/{path}", {"team_id": "globex", "credits": 1})
        assert (answer.status_code, answer.json()["code"]) == (404, "team_not_found")


def test_organization_without_a_pool_says_so(db, operator):
    org = make.organization("bare")

    assert operator.get("/api/credits/organizations/bare/balance").json()["code"] == "no_credit_account"
    assert operator.get("/api/credits/organizations/bare/transactions").json()["total"] == 0
    assert operator.get("/api/credits/organizations/none/balance").status_code == 404
    assert Account.objects.filter(organization=org, kind="pool").count() == 0


def test_pools_are_for_operators(team_key, pool):
    assert team_key.get(f"{pool}/balance").status_code == 401
    for path in ("add", "allocate", "reclaim"):
        assert team_key.post(f"{pool}/{path}", {"team_id": "acme", "credits": 1}).status_code == 401
