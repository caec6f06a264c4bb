"""The margin report over HTTP."""

import pytest

from tests.analytics import rows
from tests.api.calling import located
from tests.credits import books


@pytest.fixture
def sales(acme, settings):
    settings.CREDIT_LIST_PRICE_NANOUSD = 10**9
    for day, job_type, credits in (("1", "report", 3), ("2", "query", 2)):
        job = rows.job(acme, day, ({"model": "fast", "cost": 10**9},), job_type=job_type, credits=credits)
        books.spend(acme.team, credits, job=str(job.pk))


def test_margin_by_job_type(sales, operator):
    body = operator.get("/api/margin", start_date="2026-03-01", end_date="2026-03-31").json()

    assert (body["group_by"], body["total_groups"], body["total"]["jobs"]) == ("job_type", 2, 2)
    assert body["groups"][0] == {
        "job_type": "report",
        "jobs": 1,
        "calls": 1,
        "credits_charged": 3,
        "credits_charged_exact": "3",
        "credits_refunded_exact": "0",
        "credits_uncollected_exact": "0",
        "revenue_usd": 3.0,
        "revenue_is_estimated": True,
        "credits_estimated_exact": "3",
        "cost_is_known": True,
        "unpriced_calls": 0,
        "provider_cost_usd": 1.0,
        "unbilled_cost_usd": 0.0,
        "lost_cost_usd": 0.0,
        "margin_usd": 2.0,
        "margin_percent": 66.66,
    }
    assert body["total"]["revenue_usd"] == 5.0


@pytest.mark.parametrize(("group_by", "name"), [("team", "acme"), ("model", "fast"), ("organization", None)])
def test_margin_by_what_is_asked(acme, sales, operator, group_by, name):
    body = operator.get("/api/margin", group_by=group_by).json()

    assert [line[group_by] for line in body["groups"]] == [name or acme.organization.organization_id]
    assert body["groups"][0]["margin_usd"] == body["total"]["margin_usd"] == 3.0


def test_margin_in_days_and_pages(sales, operator):
    assert operator.get("/api/margin?start_date=2026-03-02").json()["total"]["revenue_usd"] == 2.0
    assert [line["job_type"] for line in operator.get("/api/margin?limit=1&offset=1").json()["groups"]] == ["query"]
    assert operator.get("/api/margin?start_date=2027-01-01").json()["total"]["margin_percent"] is None


def test_a_cost_that_is_not_known_is_said_so(acme, operator):
    """B8: a model without a price makes no margin look high."""
    rows.job(acme, calls=({"model": "fast"}, {"model": "smart"}), unpriced_calls=2)

    for group_by in ("team", "model"):
        body = operator.get("/api/margin", group_by=group_by).json()
        assert (body["total"]["cost_is_known"], body["total"]["unpriced_calls"]) == (False, 2)


def test_bad_questions_are_refused(operator):
    assert located(operator.get("/api/margin?group_by=colour")) == [["query", "group_by"]]
    assert operator.get("/api/margin?end_date=soon").status_code == 400


def test_margins_are_for_operators(team_key):
    assert team_key.get("/api/margin").status_code == 401
