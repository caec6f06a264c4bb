"""Many at once against every cap: exactly what is allowed is admitted, and nobody waits for ever. PostgreSQL."""

from typing import Any

import pytest

from apps.core import verification
from apps.core.errors import DomainError
from apps.jobs import execution, lifecycle, services
from apps.jobs.models import Call
from apps.limits import counters, effective, index
from apps.limits.models import Decision, Metric, SpendWindow
from tests import make
from tests.credits import racing
from tests.jobs import steps
from tests.limits.limiting import ids, limit, windows

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

AT_ONCE, ALLOWED = 24, 7


@pytest.fixture
def customer(transactional_db: None) -> make.Customer:
    make.platform_model()
    return make.customer(team_id="acme", credits=1000)


def calls_at_once(*customers: make.Customer, times: int = AT_ONCE) -> list[Any]:
    principals = [customer.principal for customer in customers]

    def ask(number: int) -> Any:
        return lambda: services.submit_one_call_job(
            principals[number % len(principals)],
            services.NewJob("query", user_id="ann"),
            steps.request_for(f"Call {number}"),
            wait_s=28,
            reply_to="",
        )

    return racing.at_once([ask(number) for number in range(times)])


def admitted(results: list[Any]) -> int:
    assert {result.code for result in results if isinstance(result, DomainError)} <= {
        "rate_limited",
        "spend_limit_reached",
    }
    return sum(not isinstance(result, DomainError) for result in results)


@pytest.mark.parametrize("scope", ["platform", "organization", "team", "key", "model", "user"])
@pytest.mark.parametrize("metric", [Metric.REQUESTS, Metric.CALLS])
def test_b18_rates_admit_exactly_what_is_allowed_of_many_at_once(customer, scope, metric):
    limit(scope, metric=metric, amount=ALLOWED, **ids(customer)[scope])
    assert admitted(calls_at_once(customer)) == ALLOWED
    assert Call.objects.count() == ALLOWED
    assert Decision.objects.filter(code="rate_limited").count() == AT_ONCE - ALLOWED


def test_b19_tokens_admit_no_more_than_is_allowed_of_many_at_once(customer):
    limit("team", "acme", Metric.TOKENS, 5 * 5000)
    results = calls_at_once(customer)
    taken = [call.taken["tokens"] for call in Call.objects.all()]
    assert admitted(results) == len(taken) == 25_000 // taken[0]


@pytest.mark.parametrize("scope", ["platform", "organization", "team", "key", "user"])
@pytest.mark.parametrize("metric", [Metric.SPEND_DAY, Metric.SPEND_WEEK, Metric.SPEND_MONTH])
def test_b18_spend_limits_admit_exactly_what_is_allowed_of_many_at_once(customer, scope, metric):
    limit(scope, metric=metric, amount=ALLOWED, **ids(customer)[scope])
    assert admitted(calls_at_once(customer)) == ALLOWED
    assert windows() == [(scope, ALLOWED, 0)]
    assert SpendWindow.objects.count() == 1
    assert verification.verify().differences == []


def test_teams_of_one_organization_share_its_limit_and_never_deadlock(customer):
    others = [make.customer(org=customer.organization, credits=1000) for _ in range(3)]
    limit("organization", customer.organization.organization_id, Metric.SPEND_DAY, ALLOWED)
    limit("platform", "", Metric.SPEND_WEEK, 100)
    for each in (customer, *others):
        limit("team", each.team.team_id, Metric.SPEND_MONTH, 100)
        limit("key", each.principal.key_id, Metric.SPEND_DAY, 100)
    assert admitted(calls_at_once(customer, *others)) == ALLOWED
    assert verification.verify().differences == []


def test_admissions_and_settlements_at_once_leave_windows_that_add_up(customer):
    limit("team", "acme", Metric.SPEND_DAY, 500)
    limit("organization", customer.organization.organization_id, Metric.SPEND_MONTH, 500)
    principal = customer.principal
    open_calls = [
        services.submit_one_call_job(
            principal,
            services.NewJob("query"),
            steps.request_for(f"Before {number}"),
            wait_s=28,
            reply_to="",
        )
        for number in range(8)
    ]
    for submitted in open_calls:
        assert execution.claim(str(submitted.call_id)) is not None
    served = lifecycle.Outcome(Call.State.SUCCEEDED, prompt_tokens=1, completion_tokens=1)

    def end(submitted: services.Submitted) -> Any:
        return lambda: lifecycle.end_call(submitted.job_id, submitted.call_id, served, claim=1)

    def begin(number: int) -> Any:
        return lambda: services.submit_one_call_job(
            principal,
            services.NewJob("query"),
            steps.request_for(f"Meanwhile {number}"),
            wait_s=28,
            reply_to="",
        )

    results = racing.at_once([each for n in range(8) for each in (end(open_calls[n]), begin(n))])

    assert not [result for result in results if isinstance(result, DomainError)]
    assert windows() == [("organization", 8, 8), ("team", 8, 8)]
    assert verification.verify().differences == []


def test_calls_into_jobs_in_groups_keep_what_they_took(customer):
    limit("team", "acme", Metric.REQUESTS, ALLOWED)
    jobs = [steps.open_job(customer) for _ in range(AT_ONCE)]
    principal = customer.principal

    def ask(job: Any) -> Any:
        return lambda: services.submit_call(
            principal, steps.request_for(str(job.pk)), job_id=str(job.pk), wait_s=28, reply_to=""
        )

    results = racing.at_once([ask(job) for job in jobs])

    assert admitted(results) == ALLOWED
    taken = [call.taken for call in Call.objects.all()]
    assert [each["of"] for each in taken] == [[["requests_per_minute", "team", "acme"]]] * ALLOWED
    assert all(
        result.headers["x-ratelimit-limit-requests"] == str(ALLOWED)
        for result in results
        if not isinstance(result, DomainError)
    )


def test_calls_that_end_in_a_group_give_their_places_back_in_one_trip(customer, monkeypatch):
    limit("team", "acme", Metric.CALLS, 3)
    limit("team", "acme", Metric.TOKENS, 100_000)
    claimed = [
        execution.claim(str(steps.ask(customer, steps.open_job(customer), f"Call {number}").call_id))
        for number in range(3)
    ]
    trips: list[int] = []
    changing = counters.MemoryCounters.change

    def change(self: Any, changes: Any) -> None:
        trips.append(len(changes))
        changing(self, changes)

    monkeypatch.setattr(counters.MemoryCounters, "change", change)
    served = lifecycle.Outcome(Call.State.SUCCEEDED, prompt_tokens=10, completion_tokens=5)

    assert lifecycle.end_calls([lifecycle.End(one.call, served) for one in claimed if one]) == [True] * 3

    # A place and a correction of each.
    assert trips == [6]
    found = effective.limits(customer.team, key_id="", model="", user_id="")
    assert {each["limit"]: each["used"] + each["held"] for each in found} == {Metric.CALLS: 0, Metric.TOKENS: 45}


def test_changes_of_a_limit_at_once_leave_one(customer):
    def put(number: int) -> Any:
        return lambda: limit("team", "acme", Metric.REQUESTS, number)

    results = racing.at_once([put(number) for number in range(8)])
    assert len({result.pk for result in results}) == 1
    index.forget_cached()
    assert index.current().allowed("team", "acme", Metric.REQUESTS) in range(8)
