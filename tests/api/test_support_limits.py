"""What support may do within its limits, and where they end."""

from datetime import timedelta
from typing import Any

import pytest

from apps.core import clock
from apps.core.models import AuditEntry
from apps.credits.models import Entry
from apps.limits import services as limits
from tests import make
from tests.api.calling import Caller, finished_job


@pytest.fixture
def support(db: None) -> Caller:
    return Caller(make.operator("support").headers)


@pytest.fixture
def five(settings: Any) -> None:
    settings.SUPPORT_CREDITS_MAX = 5


def grant(caller: Caller, credits: int, kind: str = "goodwill") -> int:
    answer = caller.post("/api/credits/teams/acme/add", {"credits": credits, "kind": kind, "reason": "sorry"})
    if answer.status_code == 403:
        assert answer.json()["code"] == "right_missing"
        assert "refunds and goodwill up to a set sum" in answer.json()["detail"]
    return int(answer.status_code)


def test_support_gives_nothing_unless_a_sum_is_set(support: Caller, acme: make.Customer):
    assert grant(support, 1) == 403
    assert AuditEntry.objects.get(action="refused").after["right"] == "credits.write"


def test_support_gives_goodwill_up_to_the_sum_and_nothing_else(support: Caller, acme: make.Customer, five: None):
    assert grant(support, 5) == 200
    assert grant(support, 6) == 403
    assert grant(support, 1, "paid") == 403
    assert grant(support, 1, "promotional") == 403
    assert (
        support.post("/api/credits/teams/acme/replenish", {"credits": 1, "payment_type": "one_time"}).status_code
        == 403
    )


@pytest.fixture
def charge(acme: make.Customer, worker: None, settings: Any) -> Entry:
    """A charge of ten credits."""
    settings.EMBEDDED = True
    settings.DEFAULT_CREDITS_PER_JOB = 10
    finished_job(Caller(acme.headers))
    found = Entry.objects.get(kind=Entry.Kind.CHARGE)
    assert found.amount_micros >= 1_000_000
    return found


def refund(caller: Caller, charge: Entry, **amount: Any) -> int:
    answer = caller.post(f"/api/credits/entries/{charge.pk}/refund", {"reason": "sorry", **amount})
    return int(answer.status_code)


def test_support_refunds_no_more_of_one_charge_than_the_sum(support: Caller, charge: Entry, settings: Any):
    assert refund(support, charge, credits=0.5) == 403
    assert Entry.objects.filter(kind=Entry.Kind.REFUND).count() == 0

    settings.SUPPORT_CREDITS_MAX = 1
    # In parts it is still one charge.
    assert refund(support, charge, credits=0.5) == 200
    settings.SUPPORT_CREDITS_MAX = 0
    assert refund(support, charge, credits=0.1) == 403
    assert refund(support, charge, all=True) == 403
    assert refund(Caller(make.operator("billing").headers), charge, all=True) == 200


def test_support_takes_no_grant_back(support: Caller, acme: make.Customer, five: None):
    given = Entry.objects.get(kind=Entry.Kind.GRANT)
    answer = support.post(f"/api/credits/entries/{given.pk}/reverse", {"all": True, "reason": "x"})
    assert answer.status_code == 403


def test_what_does_not_exist_is_not_found_for_support_too(support: Caller, five: None):
    answer = support.post("/api/credits/entries/nothing/refund", {"all": True, "reason": "x"})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("amount", "days", "status"),
    [(200, 6.9, 200), (100, 1, 200), (200, 7.1, 403), (99, 1, 403)],
)
def test_support_raises_limits_for_a_week_at_most(
    support: Caller, acme: make.Customer, amount: int, days: float, status: int
):
    limit, _ = limits.put(scope="team", id="acme", metric="requests_per_minute", amount=100, actor=make.TESTER)
    until = clock.iso(clock.now() + timedelta(days=days))
    answer = support.post(f"/api/limits/{limit.pk}/raise", {"amount": amount, "until": until, "reason": "launch"})
    assert answer.status_code == status, answer.content
    assert (
        support.put(
            "/api/limits", {"scope": "team", "id": "acme", "metric": "requests_per_minute", "amount": 1}
        ).status_code
        == 403
    )
    limit.refresh_from_db()
    assert (limit.raised_to is None) is (status == 403)


def test_support_changes_members_and_no_customers(support: Caller, acme: make.Customer):
    path = f"/api/organizations/{acme.organization.organization_id}"
    made = support.post(f"{path}/members", {"email": "ana@example.com", "role": "viewer"})
    assert made.status_code == 200, made.content
    assert support.put(path, {"time_zone": "Europe/Berlin"}).status_code == 403
    assert support.post("/api/teams/create", {}).status_code == 403


def test_credits_and_prices_given_with_a_team_need_their_own_rights(acme: make.Customer):
    scoped = Caller(make.operator("owner", scopes=["view", "customers.write"]).headers)
    new = {"team_id": "fresh", "organization_id": acme.organization.organization_id}
    assert scoped.post("/api/teams/create", new | {"credits_allocated": 5}).json()["right"] == "credits.write"
    assert scoped.post("/api/teams/create", new | {"budget_mode": "job_based"}).json()["right"] == "cards.write"
    assert scoped.put("/api/teams/acme", {"credits_allocated": 0}).json()["right"] == "credits.write"
    assert scoped.post("/api/teams/create", new).status_code == 200


def test_a_viewer_sees_calls_without_their_answers(acme: make.Customer, worker: None):
    key = Caller(acme.headers)
    job_id = finished_job(key)
    call_id = key.get(f"/api/jobs/{job_id}").json()["calls"][0]["call_id"]
    path = f"/api/jobs/{job_id}/calls/{call_id}"

    refused = Caller(make.operator("viewer").headers).get(path)
    assert (refused.status_code, refused.json()["right"]) == (403, "content.view")
    for caller in (key, Caller(make.operator("support").headers)):
        assert caller.get(path).status_code == 200


def test_a_viewer_sees_a_job_without_its_texts(acme: make.Customer, worker: None):
    job_id = finished_job(Caller(acme.headers))
    path = f"/api/jobs/teams/acme/{job_id}"

    (hidden,) = Caller(make.operator("viewer").headers).get(path).json()["calls"]
    (shown,) = Caller(make.operator("support").headers).get(path).json()["calls"]

    assert (hidden["request_data"], hidden["response_data"]) == (None, None)
    assert shown["request_data"]["messages"]
    assert shown["response_data"]
    assert hidden["total_tokens"] == shown["total_tokens"]


def test_a_viewer_reads_statements_and_exports_none(acme: make.Customer):
    viewer = Caller(make.operator("viewer").headers)
    path = f"/api/teams/acme/statements/{clock.now():%Y-%m}"
    assert viewer.get(path).status_code == 200
    assert viewer.get(path, format="csv").json()["right"] == "export"
    assert Caller(acme.headers).get(path, format="csv").status_code == 200
