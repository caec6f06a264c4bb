"""A team's usage broken down, and an organization's usage and costs."""

import pytest

from apps.credits.models import BillingSettings
from tests import make
from tests.analytics import rows
from tests.api.calling import Caller, located

PERIOD = "/api/teams/acme/usage?period=2026-03"


def usage(caller, group_by, more=""):
    answer = caller.get(f"{PERIOD}&group_by={group_by}{more}")
    assert answer.status_code == 200, answer.content
    return answer.json()


@pytest.fixture
def month(acme):
    rows.job(acme, "1", ({"model": "fast", "cost": 10**9},), user_id="ann", credits=2, markup=50, key_id="k1")
    rows.job(acme, "2", ({"model": "smart", "state": "failed"},), user_id="bob", status="failed", key_id="k1")
    rows.job(acme, "2", ({"model": "fast"}, {"model": "smart"}), user_id="bob", credits=3, job_type="report")


@pytest.mark.parametrize(
    ("group_by", "credits"),
    [
        ("user", {"ann": 2, "bob": 3}),
        ("key", {"k1": 2, "": 3}),
        ("day", {"2026-03-01": 2, "2026-03-02": 3}),
        ("model", {"fast": 3, "smart": 1}),
        ("job_type", {"query": 2, "report": 3}),
    ],
)
def test_usage_is_broken_down(month, team_key, group_by, credits):
    body = usage(team_key, group_by)

    lines = body[f"by_{group_by}"]
    assert {name: line["credits_used"] for name, line in lines.items()} == credits
    assert sum(line["count"] for line in lines.values()) == body["summary"]["total_jobs"] == 3
    assert sum(line["cost_usd"] for line in lines.values()) == body["summary"]["total_cost_usd"] == 1.5


def test_the_most_expensive_groups_come_first_and_the_rest_is_summed_up(month, team_key):
    body = usage(team_key, "user", "&limit=1")

    assert list(body["by_user"]) == ["bob"]
    assert (body["others"]["groups"], body["others"]["credits_used"], body["others"]["calls"]) == (1, 2, 1)
    assert list(usage(team_key, "user", "&limit=1&offset=1")["by_user"]) == ["ann"]


def test_costs_hidden_from_keys_are_hidden_in_every_line(acme, month, team_key):
    BillingSettings.objects.create(team=acme.team, show_costs=False)

    body = usage(team_key, "model")

    assert {line["cost_usd"] for line in body["by_model"].values()} == {None}
    assert b"secret" not in team_key.get(f"{PERIOD}&group_by=model").content


def test_unknown_group_is_refused(team_key):
    assert located(team_key.get(f"{PERIOD}&group_by=colour")) == [["query", "group_by"]]


def test_organization_usage(acme, globex, month, operator):
    other = make.customer(team_id="acme-two", org=acme.organization)
    rows.job(other, "3", credits=7)
    rows.job(globex, "3", credits=50)

    path = f"/api/organizations/{acme.organization.organization_id}/usage"
    body = operator.get(path, period="2026-03").json()

    assert body["summary"] == {
        "total_jobs": 4,
        "completed_jobs": 3,
        "successful_jobs": 3,
        "failed_jobs": 1,
        "credits_used": 12,
        "credits_used_exact": "12",
        "total_cost_usd": 1.5,
        "total_tokens": 45,
        "avg_cost_per_job": 0.375,
    }
    assert {id: (team["jobs"], team["credits_used"]) for id, team in body["teams"].items()} == {
        "acme": (3, 5),
        "acme-two": (1, 7),
    }
    assert {name: line["credits_used"] for name, line in body["by_job_type"].items()} == {"query": 9, "report": 3}
    assert operator.get(path, period="2026-04").json()["summary"]["total_jobs"] == 0
    assert operator.get(f"{path}?period=soon").status_code == 422
    assert operator.get("/api/organizations/nobody/usage?period=2026-03").status_code == 404


def test_organization_costs(acme, month, operator):
    path = f"/api/organizations/{acme.organization.organization_id}/costs"

    body = operator.get(path, start_date="2026-03-01", end_date="2026-03-01").json()

    assert (body["total_cost_usd"], body["provider_cost_usd"], body["jobs"]) == (1.5, 1.0, 1)
    assert list(body["by_day"]) == ["2026-03-01"]
    assert operator.get(path).json()["jobs"] == 3


@pytest.mark.parametrize("what", ["usage?period=2026-03", "costs"])
def test_organizations_are_for_operators(acme, team_key, what):
    path = f"/api/organizations/{acme.organization.organization_id}/{what}"

    assert team_key.get(path).status_code == 401


@pytest.mark.parametrize("date", ["soon", "2026-02-30", "2026-03-01T00:00", "20260301", "2026-3-1", "%00"])
def test_bad_dates_are_refused(acme, operator, date):
    path = f"/api/organizations/{acme.organization.organization_id}/costs?start_date={date}"
    answer = operator.get(path)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.json()["detail"].startswith("Invalid start_date format: ")


def test_dates_in_the_wrong_order_are_refused(acme, operator):
    path = f"/api/organizations/{acme.organization.organization_id}/costs"
    answer = operator.get(path, start_date="2026-03-02", end_date="2026-03-01")

    assert (answer.status_code, answer.json()["detail"]) == (400, "start_date must not be after end_date")


def test_organization_usage_takes_a_constant_number_of_queries(acme, operator, django_assert_num_queries):
    for number in range(5):
        team = make.customer(team_id=f"t-{number}", org=acme.organization)
        rows.job(team, job_type=f"type-{number}")

    with django_assert_num_queries(3):
        operator.get(f"/api/organizations/{acme.organization.organization_id}/usage?period=2026-03")


def test_another_teams_usage_is_not_for_a_key(acme, stranger):
    assert Caller(stranger.headers).get(PERIOD).status_code == 403
