"""A team's usage by month and day."""

from datetime import UTC, datetime

import pytest

from apps.credits.models import BillingSettings
from apps.jobs.models import Job
from tests import make
from tests.api.calling import Caller, finished_job, located


def job(
    customer, created_at, *, status="completed", job_type="query", cost_usd=0, tokens=(0, 0), credits=0, markup=0
):
    closed = status in ("completed", "failed", "cancelled")
    Job.objects.create(
        team=customer.team,
        organization=customer.organization,
        job_type=job_type,
        status=status,
        completed_at=datetime.now(UTC) if closed else None,
        charge_state="charged" if credits else "none",
        charged_micros=credits * 1_000_000,
        provider_cost_nanousd=int(cost_usd * 10**9),
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
        terms={"markup_ppm": markup * 10_000} if closed else None,
        created_at=datetime.fromisoformat(created_at),
    )


def usage(caller, period, team_id="acme"):
    answer = caller.get(f"/api/teams/{team_id}/usage?period={period}")
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_month_is_summed_up(acme, globex, team_key, operator):
    job(acme, "2026-03-01T00:00:00+00:00", cost_usd=1.5, tokens=(100, 50), credits=3)
    job(acme, "2026-03-15T12:00:00+00:00", cost_usd=0.5, tokens=(10, 5), credits=1)
    job(acme, "2026-03-31T23:59:59.999999+00:00", status="failed", job_type="chat", cost_usd=0.25, tokens=(7, 0))
    job(acme, "2026-03-20T00:00:00+00:00", status="pending", job_type="chat")
    job(acme, "2026-02-28T23:59:59.999999+00:00", credits=100)
    job(acme, "2026-04-01T00:00:00+00:00", credits=100)
    job(globex, "2026-03-15T12:00:00+00:00", credits=100)

    body = usage(team_key, "2026-03")

    assert body == {
        "team_id": "acme",
        "period": "2026-03",
        "summary": {
            "total_jobs": 4,
            "successful_jobs": 2,
            "failed_jobs": 1,
            "total_cost_usd": 2.25,
            "total_tokens": 172,
            "avg_cost_per_job": 0.5625,
            "credits_used": 4,
            "credits_used_exact": "4",
        },
        "job_types": (
            lines := {
                "chat": {
                    "count": 2,
                    "cost_usd": 0.25,
                    "tokens": 7,
                    "credits_used": 0,
                    "credits_used_exact": "0",
                },
                "query": {
                    "count": 2,
                    "cost_usd": 2.0,
                    "tokens": 165,
                    "credits_used": 4,
                    "credits_used_exact": "4",
                },
            }
        ),
        "by_job_type": lines,
    }
    assert usage(operator, "2026-03") == body


def test_day_is_summed_up_in_utc(acme, team_key):
    job(acme, "2026-03-15T00:00:00+00:00", credits=1)
    job(acme, "2026-03-15T23:30:00-01:00", credits=10)
    job(acme, "2026-03-16T01:00:00+02:00", credits=100)

    assert usage(team_key, "2026-03-15")["summary"]["credits_used"] == 101
    assert usage(team_key, "2026-03-16")["summary"]["credits_used"] == 10


@pytest.mark.parametrize("period", ["2024-02-29", "2025-12", "2025-12-31", "2024-02"])
def test_periods_at_the_edges_of_the_calendar(acme, team_key, period):
    last = {"2025-12": "2025-12-31", "2024-02": "2024-02-29"}.get(period, period)
    job(acme, f"{last}T23:59:59+00:00")

    assert usage(team_key, period)["summary"]["total_jobs"] == 1


def test_each_job_has_the_markup_it_was_priced_with(acme, team_key):
    job(acme, "2026-03-15T00:00:00+00:00", cost_usd=1, markup=50)
    job(acme, "2026-03-15T00:00:00+00:00", cost_usd=1, markup=0)

    body = usage(team_key, "2026-03")

    assert (body["summary"]["total_cost_usd"], body["summary"]["avg_cost_per_job"]) == (2.5, 1.25)
    assert (body["job_types"]["query"]["count"], body["job_types"]["query"]["cost_usd"]) == (2, 2.5)


def test_nothing_used_is_all_zero(acme, team_key):
    body = usage(team_key, "2026-03")

    assert body["job_types"] == {}
    assert set(body["summary"].values()) == {0, "0"}


def test_a_real_job_is_counted_today(team_key, worker):
    finished_job(team_key)

    body = usage(team_key, datetime.now(UTC).strftime("%Y-%m"))

    assert (body["summary"]["successful_jobs"], body["summary"]["credits_used"]) == (1, 1)
    assert body["summary"]["total_tokens"] > 0


def test_costs_can_be_hidden_from_keys(acme, team_key, operator):
    job(acme, "2026-03-15T00:00:00+00:00", cost_usd=1)
    BillingSettings.objects.create(team=acme.team, show_costs=False)

    hidden, shown = usage(team_key, "2026-03"), usage(operator, "2026-03")

    assert (hidden["summary"]["total_cost_usd"], hidden["summary"]["avg_cost_per_job"]) == (None, None)
    assert hidden["job_types"]["query"]["cost_usd"] is None
    assert shown["summary"]["total_cost_usd"] == 1.0


def test_period_is_required(team_key):
    answer = team_key.get("/api/teams/acme/usage")

    assert located(answer) == [["query", "period"]]
    assert (answer.json()["detail"][0]["type"], answer.json()["detail"][0]["msg"]) == ("missing", "Field required")


@pytest.mark.parametrize(
    "period",
    [
        "",
        "2026",
        "2026-13",
        "2026-00",
        "2026-3",
        "2026-02-29",
        "2026-02-00",
        "0000-01",
        "9999-12",
        "26-03",
        "x",
        "2026-03-15T00:00",
        "2026-03 ",
        "%00",
        "２０２６-03",
        "2026-03%0A",
        "9" * 5000,
    ],
)
def test_period_of_another_form_is_refused(team_key, period):
    assert located(team_key.get(f"/api/teams/acme/usage?period={period}")) == [["query", "period"]]


def test_usage_takes_one_aggregate_query(acme, operator, django_assert_num_queries):
    for number in range(30):
        job(acme, "2026-03-15T00:00:00+00:00", job_type=f"type-{number}", markup=number)

    with django_assert_num_queries(2):
        usage(operator, "2026-03")


def test_other_team_is_not_counted(acme, db):
    other = make.customer(team_id="other", org=acme.organization)
    job(acme, "2026-03-15T00:00:00+00:00", credits=5)

    assert usage(Caller(other.headers), "2026-03", "other")["summary"]["total_jobs"] == 0
