"""B19: rates and concurrency that heal: a refused call consumes nothing, tokens are corrected, places come back."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from apps.core import clock, idempotency
from apps.core.errors import DomainError
from apps.jobs import bounds, execution, lifecycle, sweeper
from apps.jobs import services as jobs
from apps.jobs.gateway.failures import malformed
from apps.jobs.models import Call, Job
from apps.limits import counters, effective, gate, index, services
from apps.limits.counters import CountersAway
from apps.limits.errors import LimitsUnavailable, RateLimitExceeded
from apps.limits.models import Metric
from tests import make
from tests.jobs import steps
from tests.limits.limiting import call, limit


@pytest.fixture
def customer(transactional_db: None) -> make.Customer:
    """On real transactions: what a call's end gives back is given after its commit."""
    make.platform_model()
    return make.customer(team_id="acme", credits=100)


def used(customer: make.Customer) -> dict[str, int]:
    """What of each limit on the way of user ann's calls is used or held now."""
    found = effective.limits(customer.team, key_id=customer.principal.key_id, model="chat-default", user_id="ann")
    return {each["limit"]: each["used"] + each["held"] for each in found}


# --- A refused call ------------------------------------------------------------------------------------------


def test_b19_a_call_refused_by_one_rate_uses_none_of_the_others(customer):
    for metric, amount in ((Metric.REQUESTS, 100), (Metric.TOKENS, 100_000), (Metric.CALLS, 0)):
        limit("team", "acme", metric, amount)
    for number in range(3):
        with pytest.raises(RateLimitExceeded):
            call(customer, f"Refused {number}")
    assert used(customer) == {Metric.REQUESTS: 0, Metric.TOKENS: 0, Metric.CALLS: 0}


def limited(*amounts: int) -> None:
    for metric, amount in zip((Metric.REQUESTS, Metric.TOKENS, Metric.CALLS), amounts or (9, 90_000, 9), strict=True):
        limit("team", "acme", metric, amount)


NOTHING = {Metric.REQUESTS: 0, Metric.TOKENS: 0, Metric.CALLS: 0}


def refuse_by_credits(customer: make.Customer) -> None:
    poor = make.customer(org=customer.organization, credits=0)
    limit("organization", customer.organization.organization_id, Metric.REQUESTS, 5)
    with pytest.raises(DomainError):
        call(poor)
    assert used(poor) == {Metric.REQUESTS: 0}


def refuse_by_model(customer: make.Customer) -> None:
    with pytest.raises(DomainError):
        call(customer, model="unknown")


def refuse_by_closed_job(customer: make.Customer) -> None:
    job = steps.open_job(customer)
    steps.complete(customer, job)
    with pytest.raises(DomainError):
        steps.ask(customer, job)


def refuse_by_unknown_job(customer: make.Customer) -> None:
    with pytest.raises(DomainError):
        steps.ask(customer, "0192e4a0-0000-7000-8000-000000000000")


def refuse_by_spend(customer: make.Customer) -> None:
    limit("team", "acme", Metric.SPEND_DAY, 0)
    with pytest.raises(DomainError):
        call(customer)


@pytest.mark.parametrize(
    "refuse", [refuse_by_model, refuse_by_closed_job, refuse_by_unknown_job, refuse_by_spend, refuse_by_credits]
)
def test_b19_a_call_that_its_admission_refuses_gives_its_rates_back(customer, refuse):
    limited()
    refuse(customer)
    assert {name: figure for name, figure in used(customer).items() if name in NOTHING} == NOTHING


def test_b19_a_call_that_meets_a_defect_gives_its_rates_back(customer, monkeypatch):
    limited()
    monkeypatch.setattr("apps.jobs.statements.admit", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call(customer)
    assert used(customer) == NOTHING


def test_b19_repeats_consume_nothing_and_are_answered_at_the_limit(customer):
    limited(1, 90_000, 1)
    key = idempotency.Request("team:acme", "once", "f" * 64)
    job = steps.open_job(customer)
    first = steps.ask(customer, job, idempotent=key)
    before = used(customer)

    again = steps.ask(customer, job, idempotent=key)

    assert (again.call_id, again.is_replay, again.headers) == (str(first.call_id), True, {})
    assert used(customer) == before
    with pytest.raises(RateLimitExceeded):
        steps.ask(customer, job, "Another")


def test_b19_a_caller_who_asks_again_is_given_the_unanswered_call_at_the_limit(customer):
    limited(1, 90_000, 1)
    job = steps.open_job(customer)
    first = steps.ask(customer, job)
    jobs.mark_unanswered(first.call_id)
    before = used(customer)

    again = steps.ask(customer, job)

    assert (again.call_id, again.is_new) == (first.call_id, False)
    assert used(customer) == before


# --- Tokens --------------------------------------------------------------------------------------------------


def test_tokens_are_reserved_by_estimate_and_corrected_to_what_was_used(customer, monkeypatch):
    limited()
    steps.take_route(monkeypatch, lambda request: steps.answer(prompt=30, completion=12))
    submitted = call(customer, "x" * 4000, fingerprint="long", parameters={"max_tokens": 500})
    reserved = used(customer)[Metric.TOKENS]
    # Four bytes a token and the frame of the message, and the whole of what it may answer.
    assert 1500 < reserved < 1550

    execution.run_call(str(submitted.call_id))

    assert used(customer) == {Metric.REQUESTS: 1, Metric.TOKENS: 42, Metric.CALLS: 0}


def test_more_tokens_than_were_reserved_are_counted_too(customer, monkeypatch):
    limited()
    steps.take_route(monkeypatch, lambda request: steps.answer(prompt=3000, completion=2000))
    execution.run_call(str(call(customer, parameters={"max_tokens": 10}).call_id))
    assert used(customer)[Metric.TOKENS] == 5000


def test_a_call_that_failed_used_no_tokens_but_was_a_request(customer, monkeypatch):
    limited()

    def fail(request: Any) -> Any:
        raise malformed()

    steps.take_route(monkeypatch, fail)
    execution.run_call(str(call(customer).call_id))
    assert used(customer) == {Metric.REQUESTS: 1, Metric.TOKENS: 0, Metric.CALLS: 0}


def test_b19_tokens_of_streams_are_limited_like_others(customer):
    limit("team", "acme", Metric.TOKENS, 1000)
    first = call(customer, is_streamed=True, parameters={"max_tokens": 900})
    with pytest.raises(RateLimitExceeded) as refused:
        call(customer, "Another stream", is_streamed=True, parameters={"max_tokens": 900})
    assert refused.value.retry_after_s >= 50
    execution.run_call(str(first.call_id))
    ended = steps.call_of(first)
    assert ended.state == "succeeded"
    assert used(customer) == {Metric.TOKENS: ended.total_tokens}
    call(customer, "Now it fits", is_streamed=True, parameters={"max_tokens": 900})


def test_a_call_that_can_never_fit_is_told_so_and_not_to_wait(customer):
    limit("team", "acme", Metric.TOKENS, 100)
    with pytest.raises(RateLimitExceeded, match="This call alone needs") as refused:
        call(customer, parameters={"max_tokens": 500})
    assert refused.value.retry_after_s is None
    assert refused.value.details["needed"] > 500


def test_expected_tokens_are_at_most_the_bound(customer):
    model = jobs.admission.model_for(customer.team, customer.principal, steps.request_for())
    for body in (
        steps.request_for("x" * 999).body,
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}], "n": 3},
        {"input": ["a", "b"]},
    ):
        bound = bounds.of_call(body, model)
        assert 0 < bounds.expected_tokens(body, model) <= bound.input_tokens + bound.output_tokens


# --- Calls at a time -----------------------------------------------------------------------------------------


def test_a_place_is_free_again_before_the_caller_knows(customer, monkeypatch):
    limit("team", "acme", Metric.CALLS, 1)
    seen: list[int] = []
    monkeypatch.setattr(
        "apps.jobs.replies.send_many", lambda told: seen.extend(used(customer)[Metric.CALLS] for _ in told)
    )
    monkeypatch.setattr("apps.jobs.replies.send", lambda *_: seen.append(used(customer)[Metric.CALLS]))
    submitted = call(customer)
    with pytest.raises(RateLimitExceeded) as refused:
        call(customer, "Meanwhile")
    assert refused.value.retry_after_s == 1
    execution.run_call(str(submitted.call_id))
    assert seen == [0]
    call(customer, "Afterwards")


@pytest.mark.parametrize("metered", [False, True])
def test_places_are_free_again_however_a_call_ends(transactional_db, metered):
    make.alias("chat-default", is_open=True, is_default=True, input_usd_per_mtok=1, output_usd_per_mtok=1)
    customer = (make.metered_customer if metered else make.customer)(team_id="acme", credits=100)
    limit("team", "acme", Metric.CALLS, 1)
    for state in (Call.State.FAILED, Call.State.CANCELLED, Call.State.EXPIRED):
        submitted = call(customer, f"To be {state}")
        assert lifecycle.end_call(submitted.job_id, submitted.call_id, lifecycle.Outcome(state), claim=0)
    assert used(customer) == {Metric.CALLS: 0}


def test_b19_a_call_of_a_dead_worker_gives_its_place_back_when_it_is_swept(customer):
    limited()
    submitted = call(customer)
    assert execution.claim(str(submitted.call_id)) is not None
    steps.at(steps.call_of(submitted), deadline_at=-60)

    sweeper.run()

    assert steps.call_of(submitted).error_code == "call_timeout"
    assert used(customer) == {Metric.REQUESTS: 1, Metric.TOKENS: 0, Metric.CALLS: 0}


def test_b19_a_lease_that_nobody_ended_is_over_soon_after_its_call_s_deadline(customer, settings, clock_of_counters):
    settings.CALL_DEADLINE_S = 100.0
    limit("team", "acme", Metric.CALLS, 1)
    call(customer)
    clock_of_counters.now += 100.0
    with pytest.raises(RateLimitExceeded):
        call(customer, "Within the deadline")
    clock_of_counters.now += gate.LEASE_GRACE_S
    call(customer, "After it")


def test_an_end_that_is_rolled_back_gives_nothing_back(customer, monkeypatch):
    limited()
    submitted = call(customer)
    before = used(customer)
    with monkeypatch.context() as broken:
        broken.setattr("apps.jobs.statements.end", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            lifecycle.end_call(submitted.job_id, submitted.call_id, lifecycle.Outcome(Call.State.SUCCEEDED), claim=0)
    assert used(customer) == before


# --- Requests ------------------------------------------------------------------------------------------------


def test_requests_come_back_after_a_minute(customer, clock_of_counters):
    limit("team", "acme", Metric.REQUESTS, 1)
    call(customer, "First")
    with pytest.raises(RateLimitExceeded) as refused:
        call(customer, "Second")
    assert refused.value.retry_after_s == 61
    clock_of_counters.now += refused.value.retry_after_s
    call(customer, "Third")


def test_headers_are_of_the_tightest_limit_in_openai_s_words(customer, clock_of_counters):
    limit("platform", "", Metric.REQUESTS, 1000)
    limit("team", "acme", Metric.REQUESTS, 10)
    limit("key", customer.principal.key_id, Metric.REQUESTS, 10_000)
    limit("team", "acme", Metric.TOKENS, 100_000)
    headers = call(customer, "First", parameters={"max_tokens": 90}).headers
    tokens_left = int(headers.pop("x-ratelimit-remaining-tokens"))
    assert 99_850 < tokens_left < 99_910
    assert headers == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-reset-requests": "1m0s",
        "x-ratelimit-limit-tokens": "100000",
        "x-ratelimit-reset-tokens": "1m0s",
    }


@pytest.mark.parametrize(("ms", "text"), [(0, "0s"), (1, "1s"), (1000, "1s"), (59_001, "1m0s"), (360_000, "6m0s")])
def test_durations_are_written_as_openai_does(ms, text):
    assert gate._duration(ms) == text


def test_a_raise_holds_until_its_end(customer, clock_of_counters, monkeypatch):
    one = limit("team", "acme", Metric.REQUESTS, 1)
    services.raise_(one.pk, amount=2, until=clock.now() + timedelta(hours=1), reason="launch", actor=make.TESTER)
    call(customer, "First")
    call(customer, "Second")
    with pytest.raises(RateLimitExceeded):
        call(customer, "Third")
    known = index.current()
    later = replace(known, at=known.at + timedelta(hours=1))
    applied = later.applying(customer.team, key_id="", model="", user_id="")
    assert [each.allowed for each in applied] == [1]


# --- Redis is away -------------------------------------------------------------------------------------------


class Away:
    """Counters that cannot be asked."""

    def take(self, *_: Any, **__: Any) -> Any:
        raise CountersAway("ConnectionError")

    change = look = take


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "counters", Away)
    monkeypatch.setattr(gate, "_said_at", -1e9)


def test_rates_let_calls_through_while_redis_is_away_and_say_so_once_a_minute(customer, away, caplog):
    limited(0, 0, 0)
    for number in range(3):
        submitted = call(customer, f"Uncounted {number}")
        assert (submitted.headers, steps.call_of(submitted).taken) == ({}, None)
    assert [record.message for record in caplog.records if record.name == "saasllm.limits"] == [
        "rates cannot be counted, calls with rate limits are let through: ConnectionError"
    ]
    assert used_or_none(customer) == [None, None, None]


def used_or_none(customer: make.Customer) -> list[Any]:
    found = effective.limits(customer.team, key_id="", model="", user_id="")
    return [each["held" if each["limit"] == Metric.CALLS else "used"] for each in found]


def test_rates_refuse_while_redis_is_away_if_they_are_told_to(customer, away, settings):
    settings.RATE_LIMITS_WHEN_REDIS_IS_DOWN = "refuse"
    limited()
    with pytest.raises(LimitsUnavailable):
        call(customer)
    # Who has no rate limit is not concerned.
    call(make.customer(credits=1))


def test_limits_of_spend_hold_while_redis_is_away(customer, away):
    limited()
    limit("team", "acme", Metric.SPEND_DAY, 1)
    call(customer, "First")
    with pytest.raises(DomainError) as refused:
        call(customer, "Second")
    assert refused.value.code == "spend_limit_reached"


def test_a_call_whose_end_cannot_be_told_ends_all_the_same(customer, monkeypatch):
    limited()
    submitted = call(customer)
    monkeypatch.setattr(counters, "counters", Away)
    assert execution.run_call(str(submitted.call_id))
    assert steps.call_of(submitted).state == "succeeded"
    assert Job.objects.get(pk=submitted.job_id).charge_state == "charged"
