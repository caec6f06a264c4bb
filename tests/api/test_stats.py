"""Operators' figures of the platform and of an organization."""

import pytest

from apps.credits.models import Account
from tests import make
from tests.analytics import rows
from tests.credits import books

FAST = {"model": "fast", "provider": "openai", "cost": 10**9, "tokens": (10, 5)}
SMART = {"model": "smart", "provider": "anthropic", "cost": 3 * 10**9, "tokens": (20, 10)}


@pytest.fixture
def path(acme, globex):
    other = make.customer(team_id="acme-two", org=acme.organization)
    rows.job(acme, "1", (FAST, FAST | {"state": "failed"}), credits=2, markup=50)
    rows.job(acme, "2", (FAST, SMART), credits=3, status="completed")
    rows.job(acme, "2", (SMART | {"state": "failed"},), status="failed", lost_cost_nanousd=10**8)
    rows.job(other, "3", ({"model": "demo", "route": "demo", "state": "running"},), status="in_progress")
    rows.job(other, "3", status="pending")
    rows.job(globex, "3", (SMART,), credits=50)
    return f"/api/jobs/organizations/{acme.organization.organization_id}"


def test_stats_of_an_organization(acme, path, operator):
    assert operator.get(f"{path}/stats").json() == {
        "organization_id": acme.organization.organization_id,
        "organization_name": acme.organization.name,
        "total_jobs": 5,
        "completed_jobs": 2,
        "failed_jobs": 1,
        "cancelled_jobs": 0,
        "in_progress_jobs": 1,
        "pending_jobs": 1,
        "total_teams": 2,
        "total_llm_calls": 6,
        "successful_calls": 3,
        "failed_calls": 2,
        "total_tokens": 60,
        "total_cost_usd": 5.5,
        "provider_cost_usd": 5.0,
        "lost_cost_usd": 0.1,
        "total_credits_used": 5,
        "total_credits_used_exact": "5",
        "top_teams": [
            {"team_id": "acme", "job_count": 3, "credits_used": 5},
            {"team_id": "acme-two", "job_count": 2, "credits_used": 0},
        ],
    }
    assert operator.get(f"{path}/stats", start_date="2026-03-02", end_date="2026-03-02").json()["total_jobs"] == 2


def test_analytics_of_an_organization(acme, path, operator):
    body = operator.get(f"{path}/analytics", start_date="2026-03-01", end_date="2026-03-31").json()

    assert body == {
        "organization_id": acme.organization.organization_id,
        "organization_name": acme.organization.name,
        "total_spend": 5.5,
        "provider_cost_usd": 5.0,
        "total_requests": 6,
        "successful_requests": 3,
        "failed_requests": 2,
        "total_tokens": 60,
        "daily_spend": [
            {"date": "2026-03-01", "spend": 1.5, "count": 2},
            {"date": "2026-03-02", "spend": 4.0, "count": 3},
            {"date": "2026-03-03", "spend": 0.0, "count": 1},
        ],
        "spend_per_team": [
            {
                "team_id": "acme",
                "spend": 5.5,
                "successful": 3,
                "failed": 2,
                "tokens": 60,
                "provider_cost_usd": 5.0,
            },
            {
                "team_id": "acme-two",
                "spend": 0.0,
                "successful": 0,
                "failed": 0,
                "tokens": 0,
                "provider_cost_usd": 0.0,
            },
        ],
        "top_models": [
            {"model": "smart", "spend": 3.0, "count": 2},
            {"model": "fast", "spend": 2.5, "count": 3},
            {"model": "demo", "spend": 0.0, "count": 1},
        ],
        "provider_usage": [
            {
                "provider": "anthropic",
                "spend": 3.0,
                "successful": 1,
                "failed": 1,
                "tokens": 30,
                "provider_cost_usd": 3.0,
            },
            {
                "provider": "openai",
                "spend": 2.5,
                "successful": 2,
                "failed": 1,
                "tokens": 30,
                "provider_cost_usd": 2.0,
            },
            {
                "provider": "demo",
                "spend": 0.0,
                "successful": 0,
                "failed": 0,
                "tokens": 0,
                "provider_cost_usd": 0.0,
            },
        ],
    }


def test_every_figure_adds_up_across_the_groupings(path, operator):
    body = operator.get(f"{path}/analytics").json()
    stats = operator.get(f"{path}/stats").json()

    for group in ("daily_spend", "spend_per_team", "top_models", "provider_usage"):
        assert sum(line["spend"] for line in body[group]) == body["total_spend"] == stats["total_cost_usd"]
    for group in ("spend_per_team", "provider_usage"):
        assert sum(line["successful"] for line in body[group]) == body["successful_requests"]
        assert sum(line["failed"] for line in body[group]) == body["failed_requests"] == stats["failed_calls"]
        assert sum(line["tokens"] for line in body[group]) == body["total_tokens"] == stats["total_tokens"]
    assert sum(line["count"] for line in body["top_models"]) == body["total_requests"] == stats["total_llm_calls"]


@pytest.mark.parametrize(("what", "queries"), [("stats", 3), ("analytics", 6)])
def test_figures_take_a_constant_number_of_queries(path, operator, what, queries, django_assert_num_queries):
    with django_assert_num_queries(queries):
        operator.get(f"{path}/{what}")


@pytest.mark.parametrize("what", ["stats", "analytics"])
def test_organizations_figures_are_refused(path, operator, team_key, what):
    assert team_key.get(f"{path}/{what}").status_code == 401
    assert operator.get(f"{path}/{what}?start_date=soon").status_code == 400
    assert operator.get(f"/api/jobs/organizations/nobody/{what}").status_code == 404


def test_dashboard(acme, globex, operator, team_key, django_assert_num_queries):
    make.alias("a")
    make.model_group("g", "a")
    books.spend(acme.team, 3)
    books.hold(acme.team, 10, job="j")

    with django_assert_num_queries(4):
        body = operator.get("/api/stats/dashboard").json()

    assert body == {
        "organizations": 2,
        "teams": 2,
        "modelGroups": 1,
        "totalCredits": 200,
        "creditsRemaining": 187,
        "creditsUsed": 3,
    }
    assert team_key.get("/api/stats/dashboard").status_code == 401


def test_dashboard_of_an_empty_platform_is_all_zero(operator):
    assert set(operator.get("/api/stats/dashboard").json().values()) == {0}


def test_utilization(acme, globex, operator, team_key, django_assert_num_queries):
    for name, spent in (("low", 60), ("edge", 80), ("empty", 100), ("half", 50)):
        books.spend(make.customer(team_id=name, credits=100).team, spent, job=name)
    Account.objects.create(kind="pool", organization=acme.organization)

    with django_assert_num_queries(5):
        body = operator.get("/api/credits/utilization").json()

    assert body == {
        "total_teams": 6,
        "summary": {
            "total_allocated": 600,
            "total_remaining": 310,
            "total_used": 290,
            "avg_utilization": 48.33,
        },
        "by_status": {"healthy": 2, "warning": 3, "critical": 1},
        "teams_needing_attention": [
            {"team_id": "empty", "credits_remaining": 0, "percentage": 0.0, "status": "critical"},
            {"team_id": "edge", "credits_remaining": 20, "percentage": 20.0, "status": "warning"},
            {"team_id": "low", "credits_remaining": 40, "percentage": 40.0, "status": "warning"},
            {"team_id": "half", "credits_remaining": 50, "percentage": 50.0, "status": "warning"},
        ],
    }
    assert len(operator.get("/api/credits/utilization?limit=1").json()["teams_needing_attention"]) == 1
    assert team_key.get("/api/credits/utilization").status_code == 401
