"""The worker's side: claims, tries, settlement. Every try has its row; what it cost is always somebody's."""

import logging
import threading
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from django.db import DataError, InterfaceError, OperationalError

from apps.core import clock
from apps.jobs import execution, leases, lifecycle, replies, sweeper
from apps.jobs.gateway.interface import GatewayError, Usage
from apps.jobs.models import Attempt, Call
from tests import make
from tests.harness.fake_provider import RunningProvider
from tests.harness.faults import CANARY_HOST, CANARY_SECRET, NANOUSD_PER_PROMPT_TOKEN
from tests.jobs import steps


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A settlement that is tried again waits: not in tests."""

    class Hurried(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            return super().wait(min(timeout or 0, 0.001))

    monkeypatch.setattr(execution, "threading", SimpleNamespace(Event=Hurried))


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call can be settled together with others."""
    monkeypatch.setattr(lifecycle, "end_calls", lambda ends: [None] * len(ends))


@pytest.fixture
def priced(db: None) -> make.Customer:
    """A flat customer whose model has prices: a dollar and two a million tokens."""
    make.alias("priced", input_usd_per_mtok=1, output_usd_per_mtok=2)
    return make.customer(team_id="priced", credits=100, access_groups=["priced"])


def asked(customer: make.Customer, **more: Any) -> Any:
    return steps.ask(customer, steps.open_job(customer), **more)


def take_over(call: Call) -> None:
    """Its worker is taken for dead: the call goes back into the queue."""
    steps.at(call, lease_until=-1)
    assert sweeper._take_over() == (1, 0)


# --- Claims -------------------------------------------------------------------------------------------------


def test_claim_is_numbered_leased_and_has_an_attempt(acme: make.Customer, settings: Any):
    settings.CALL_LEASE_S = 15
    submitted = asked(acme)

    claimed = execution.claim(str(submitted.call_id))

    assert claimed is not None
    call = steps.call_of(submitted)
    assert (call.state, call.claim, call.claimed_by) == ("running", 1, leases.worker_name())
    assert call.lease_until is not None
    assert 10 < (call.lease_until - clock.db_now()).total_seconds() <= 15
    attempt = Attempt.objects.get()
    assert (attempt.pk, attempt.call_id, attempt.claim) == (claimed.attempt_id, call.pk, 1)
    assert (attempt.state, attempt.worker, attempt.provider_model) == ("running", leases.worker_name(), "demo")
    lifecycle.end_call(call.job_id, call.pk, lifecycle.Outcome(Call.State.CANCELLED), claim=1)


@pytest.mark.parametrize("state", ["running", "succeeded"])
def test_second_delivery_does_nothing(acme: make.Customer, monkeypatch: pytest.MonkeyPatch, state: str):
    route = steps.take_route(monkeypatch, lambda _: steps.answer())
    submitted = asked(acme)
    if state == "running":
        execution.claim(str(submitted.call_id))
    else:
        steps.run(submitted)
    asked_before = len(route.requests)

    assert steps.run(submitted) is False
    assert len(route.requests) == asked_before
    assert Attempt.objects.count() == 1


def test_message_for_an_unknown_call_does_nothing(db: None):
    assert execution.run_call("00000000-0000-0000-0000-000000000000") is False


def test_call_past_its_deadline_is_not_claimed(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    route = steps.take_route(monkeypatch, lambda _: steps.answer())
    submitted = asked(acme)
    steps.at(steps.call_of(submitted), deadline_at=-1)

    assert steps.run(submitted) is False
    assert (len(route.requests), Attempt.objects.count()) == (0, 0)
    assert steps.call_of(submitted).state == "queued"


def test_provider_gets_no_more_time_than_the_call_has(acme: make.Customer, settings: Any, monkeypatch: Any):
    settings.GATEWAY_TIMEOUT_S = 300
    route = steps.take_route(monkeypatch, lambda _: steps.answer())
    submitted = asked(acme)
    steps.at(steps.call_of(submitted), deadline_at=20)

    steps.run(submitted)
    steps.run(asked(acme, text="another"))

    assert 15 < route.timeouts_s[0] <= 20
    assert route.timeouts_s[1] == 300


def test_request_is_sent_as_it_was_asked(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    route = steps.take_route(monkeypatch, lambda _: steps.answer())
    submitted = asked(acme, text="Hi", parameters={"temperature": 0.2})

    steps.run(submitted)

    (request,) = route.requests
    assert request.body == {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0.2}
    assert (request.call_id, request.team_id) == (str(submitted.call_id), "acme")
    assert request.attempt_id == str(Attempt.objects.get().pk)


def test_cap_that_the_hold_rests_on_is_sent(db: None, monkeypatch: pytest.MonkeyPatch):
    route = steps.take_route(monkeypatch, lambda _: steps.answer())
    make.alias("priced", input_usd_per_mtok=1, output_usd_per_mtok=2, max_output_tokens=77)
    metered = make.metered_customer(credits=10, access_groups=["priced"])

    steps.run(asked(metered, text="without"))
    steps.run(asked(metered, text="with", parameters={"max_completion_tokens": 5}))

    assert route.requests[0].body["max_tokens"] == 77
    assert "max_tokens" not in route.requests[1].body


# --- Success ------------------------------------------------------------------------------------------------


def test_answer_is_recorded_with_tokens_cost_and_names(priced: make.Customer, monkeypatch: pytest.MonkeyPatch):
    steps.take_route(monkeypatch, lambda _: steps.answer("Yes.", prompt=1_000, completion=500, raw_usage="{}"))
    submitted = asked(priced)

    assert steps.run(submitted) is True

    call, job, attempt = steps.call_of(submitted), steps.job_of(submitted), Attempt.objects.get()
    assert (call.state, call.prompt_tokens, call.completion_tokens) == ("succeeded", 1_000, 500)
    # A dollar a million is 1,000 nano-dollars a token.
    assert call.provider_cost_nanousd == 1_000 * 1_000 + 500 * 2_000
    assert (call.is_estimated, call.resolved_model, call.error_code) == (False, "some-model", "")
    assert call.latency_ms is not None
    assert call.ended_at is not None
    assert (job.successful_calls, job.failed_calls, job.total_tokens) == (1, 0, 1_500)
    assert job.provider_cost_nanousd == call.provider_cost_nanousd
    assert (attempt.state, attempt.cost_nanousd, attempt.raw_usage) == ("succeeded", call.provider_cost_nanousd, "{}")
    assert attempt.ended_at is not None
    stored = orjson.loads(call.payload.response)
    assert stored["choices"][0]["message"]["content"] == "Yes."
    # The provider's id is not kept: an answer's id is made of its call's.
    assert stored["created"] == 1_700_000_000
    assert "id" not in stored


def test_retention_counts_from_the_call_s_end(acme: make.Customer, settings: Any):
    settings.PAYLOAD_RETENTION_H = 24
    submitted = asked(acme)
    steps.run(submitted)

    expires_at = steps.call_of(submitted).payload.expires_at

    assert expires_at is not None
    assert 86_300 < (expires_at - clock.db_now()).total_seconds() <= 86_400


def test_reply_is_sent_after_the_settlement(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    sent: list[tuple[str, Any, str]] = []
    monkeypatch.setattr(
        replies,
        "send_many",
        lambda told: sent.extend((to, call, Call.objects.get(pk=call).state) for to, call in told),
    )
    submitted = asked(acme, reply_to="web-7")

    steps.run(submitted)

    assert sent == [("web-7", submitted.call_id, "succeeded")]


@pytest.mark.parametrize(
    ("usage", "is_estimated"),
    [
        (Usage(50, 20), False),
        (None, True),
        (Usage(200_000_000, 20), True),
        (Usage(50, 200_000_000), True),
    ],
    ids=["plausible", "missing", "absurd input", "absurd output"],
)
def test_usage_that_cannot_be_is_estimated_and_flagged(
    priced: make.Customer, monkeypatch: pytest.MonkeyPatch, usage: Usage | None, is_estimated: bool
):
    steps.take_route(monkeypatch, lambda _: steps.answer("word " * 100, usage=usage))
    submitted = asked(priced)

    steps.run(submitted)

    call = steps.call_of(submitted)
    assert call.is_estimated is Attempt.objects.get().is_estimated is is_estimated
    if is_estimated:
        # Four bytes a token: the question's 60 bytes and the answer's 500, with their JSON around them.
        assert 5 < call.prompt_tokens <= call.bound_input_tokens
        assert 125 <= call.completion_tokens < 200
        assert call.provider_cost_nanousd == call.prompt_tokens * 1_000 + call.completion_tokens * 2_000


def test_estimate_never_exceeds_the_bound(db: None, monkeypatch: pytest.MonkeyPatch):
    steps.take_route(monkeypatch, lambda _: steps.answer("word " * 10_000, usage=None))
    make.alias("priced", input_usd_per_mtok=1, output_usd_per_mtok=2)
    metered = make.metered_customer(credits=100, access_groups=["priced"])
    submitted = asked(metered, parameters={"max_tokens": 9})

    steps.run(submitted)

    assert steps.call_of(submitted).completion_tokens == 9


def test_price_of_ours_wins_over_the_backend_s_figure(priced: make.Customer, monkeypatch: pytest.MonkeyPatch):
    steps.take_route(monkeypatch, lambda _: steps.answer(prompt=10, completion=5, cost_nanousd=999))
    submitted = asked(priced)

    steps.run(submitted)

    assert steps.call_of(submitted).provider_cost_nanousd == 10 * 1_000 + 5 * 2_000


@pytest.mark.parametrize(("reported", "cost"), [(999, 999), (0, 0), (None, 0)])
def test_backend_s_figure_is_used_where_we_have_no_price(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch, reported: int | None, cost: int
):
    steps.take_route(monkeypatch, lambda _: steps.answer(cost_nanousd=reported))
    submitted = asked(acme)

    steps.run(submitted)

    assert steps.call_of(submitted).provider_cost_nanousd == cost


def test_answer_cut_in_the_middle_of_an_emoji_is_kept_and_sent(db: None, settings: Any):
    from apps.api import present
    from tests.jobs.raw_http import response, sending, serving

    make.platform_model(route="litellm", provider_model="gpt-4")
    customer = make.customer(credits=1)
    body = b'{"model": "a\\u0000b", "choices": [{"message": {"content": "smile \\ud83d"}}]}'
    with serving(sending(response(body))) as server:
        settings.LITELLM_BASE_URL = server.url
        submitted = asked(customer)
        steps.run(submitted)

    call = steps.call_of(submitted)
    assert call.state == "succeeded"
    assert b"smile" in orjson.dumps(present.answer(call))


# --- Failure ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        ("fake-400", "provider_rejected", 400),
        ("fake-401", "provider_configuration", 503),
        ("fake-429", "provider_rate_limited", 429),
        ("fake-500", "provider_error", 500),
        ("fake-reset", "provider_unavailable", 503),
        ("fake-malformed-json", "provider_malformed", 500),
        ("fake-content-filter", "content_filter", 400),
    ],
)
def test_failed_call_keeps_a_public_reason_alone(
    db: None,
    provider: RunningProvider,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    code: str,
    status: int,
):
    caplog.set_level(logging.DEBUG, logger="saasllm")
    make.alias("failing", route="litellm", provider_model=fault, is_open=True)
    customer = make.customer(credits=1)
    submitted = asked(customer, model="failing")

    assert steps.run(submitted) is True

    call = steps.call_of(submitted)
    assert (call.state, call.error_code, call.error_status) == ("failed", code, status)
    assert call.error_message.startswith("LLM call failed: ")
    assert any(code in message for message in caplog.messages)
    kept = f"{Call.objects.values().get()} {Attempt.objects.values().get()} {call.payload.response} {caplog.text}"
    for secret in (CANARY_SECRET, CANARY_HOST, settings.LITELLM_MASTER_KEY, provider.url.removeprefix("http://")):
        assert secret not in kept
    attempt = Attempt.objects.get()
    assert (attempt.state, attempt.error_code) == ("failed", code)


def test_try_that_the_provider_may_have_billed_is_the_platform_s_cost(
    priced: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    def fail(_: Any) -> Any:
        raise GatewayError("provider_timeout", "too slow", status=503, was_executed=True, retry_after_s=2)

    steps.take_route(monkeypatch, fail)
    submitted = asked(priced)

    steps.run(submitted)

    call, job, attempt = steps.call_of(submitted), steps.job_of(submitted), Attempt.objects.get()
    assert (call.provider_cost_nanousd, call.prompt_tokens, job.provider_cost_nanousd) == (0, 0, 0)
    assert job.lost_cost_nanousd == attempt.cost_nanousd > 0
    assert attempt.is_estimated
    assert call.retry_after_s == 2
    assert (job.failed_calls, job.successful_calls) == (1, 0)


def test_try_that_never_reached_the_provider_costs_nobody(priced: make.Customer, monkeypatch: pytest.MonkeyPatch):
    def fail(_: Any) -> Any:
        raise GatewayError("provider_unavailable", "unreachable", status=503)

    steps.take_route(monkeypatch, fail)
    submitted = asked(priced)

    steps.run(submitted)

    assert steps.job_of(submitted).lost_cost_nanousd == Attempt.objects.get().cost_nanousd == 0


def test_demo_answers_nobody_outside_embedded_mode(acme: make.Customer, settings: Any):
    settings.EMBEDDED = False
    submitted = asked(acme)

    steps.run(submitted)

    call = steps.call_of(submitted)
    assert (call.state, call.error_code, call.error_status) == ("failed", "provider_configuration", 503)


def test_route_without_an_address_is_our_fault(db: None, settings: Any):
    settings.LITELLM_BASE_URL = ""
    make.platform_model(route="litellm", provider_model="gpt-4")
    submitted = asked(make.customer(credits=1))

    steps.run(submitted)

    assert steps.call_of(submitted).error_code == "provider_configuration"


# --- Fencing ------------------------------------------------------------------------------------------------


def test_worker_that_lost_its_claim_to_another_settles_nothing(
    priced: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    submitted = asked(priced)
    answers = iter(["first", "second"])

    def reply(_: Any) -> Any:
        text = next(answers)
        if text == "first":
            take_over(steps.call_of(submitted))
            assert steps.run(submitted) is True
        return steps.answer(text)

    steps.take_route(monkeypatch, reply)

    steps.run(submitted)

    call, job = steps.call_of(submitted), steps.job_of(submitted)
    assert (call.state, call.claim) == ("succeeded", 2)
    assert "second" in call.payload.response
    assert (job.successful_calls, job.open_calls, job.total_calls) == (1, 0, 1)
    abandoned, served = Attempt.objects.order_by("claim")
    assert (abandoned.state, served.state) == ("abandoned", "succeeded")


def test_late_answer_of_a_taken_over_call_counts_while_nobody_claimed_it_anew(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    submitted = asked(acme)

    def reply(_: Any) -> Any:
        take_over(steps.call_of(submitted))
        return steps.answer("late but there")

    steps.take_route(monkeypatch, reply)

    steps.run(submitted)

    call = steps.call_of(submitted)
    assert (call.state, call.claim, Attempt.objects.get().state) == ("succeeded", 1, "succeeded")
    assert steps.run(submitted) is False


def test_late_answer_of_a_worker_that_lost_its_claim_does_not_settle_a_running_call(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    submitted = asked(acme)
    again: list[Any] = []

    def reply(_: Any) -> Any:
        take_over(steps.call_of(submitted))
        again.append(execution.claim(str(submitted.call_id)))
        return steps.answer("too late")

    steps.take_route(monkeypatch, reply)
    steps.run(submitted)

    call = steps.call_of(submitted)
    assert (call.state, call.claim, call.payload.response) == ("running", 2, "")
    assert steps.job_of(submitted).open_calls == 1
    assert again[0].call.claim == 2


def test_abandoned_try_is_estimated_at_the_platform_s_cost(priced: make.Customer, monkeypatch: pytest.MonkeyPatch):
    submitted = asked(priced)
    execution.claim(str(submitted.call_id))
    take_over(steps.call_of(submitted))
    steps.take_route(monkeypatch, lambda _: steps.answer(prompt=10, completion=5))

    steps.run(submitted)

    abandoned, served = Attempt.objects.order_by("claim")
    assert (abandoned.state, abandoned.error_code, abandoned.is_estimated) == ("abandoned", "worker_lost", True)
    job = steps.job_of(submitted)
    assert job.lost_cost_nanousd == abandoned.cost_nanousd == abandoned.prompt_tokens * 1_000 > 0
    assert job.provider_cost_nanousd == served.cost_nanousd == 10 * 1_000 + 5 * 2_000


def test_customer_pays_one_of_several_tries(acme: make.Customer):
    submitted = steps.create_and_call(acme)
    for _ in range(2):
        execution.claim(str(submitted.call_id))
        take_over(steps.call_of(submitted))

    steps.run(submitted)

    assert steps.money(acme) == (99, 0)
    assert [attempt.state for attempt in Attempt.objects.order_by("claim")] == ["abandoned", "abandoned", "succeeded"]


@pytest.mark.usefixtures("_alone")
def test_answer_that_the_database_will_never_take_fails_the_call(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    end_call, tried = lifecycle.end_call, []

    def refuse_answers(job_id: Any, call_id: Any, outcome: lifecycle.Outcome, **more: Any) -> bool:
        tried.append(outcome.state)
        if outcome.state == Call.State.SUCCEEDED:
            raise DataError("a character that cannot be stored")
        return end_call(job_id, call_id, outcome, **more)

    monkeypatch.setattr(lifecycle, "end_call", refuse_answers)
    steps.take_route(monkeypatch, lambda _: steps.answer())
    submitted = asked(acme)

    steps.run(submitted)

    call = steps.call_of(submitted)
    assert tried == ["succeeded", "failed"]
    assert (call.state, call.error_code, call.error_status) == ("failed", "provider_malformed", 500)


# --- A database that refuses --------------------------------------------------------------------------------


@pytest.mark.usefixtures("_alone")
@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_refused_settlement_is_tried_until_it_commits(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
):
    end_call, refusals = lifecycle.end_call, iter(range(4))

    def refuse_first(*args: Any, **more: Any) -> bool:
        if next(refusals, None) is not None:
            raise kind("the database is starting up")
        return end_call(*args, **more)

    monkeypatch.setattr(lifecycle, "end_call", refuse_first)
    route = steps.take_route(monkeypatch, lambda _: steps.answer())
    submitted = asked(acme)

    assert steps.run(submitted) is True

    assert steps.call_of(submitted).state == "succeeded"
    assert next(refusals, None) is None
    assert len(route.requests) == 1


def test_settlement_whose_reply_was_lost_is_not_made_twice(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    end_call, results = lifecycle.end_call, []

    def lose_first_reply(*args: Any, **more: Any) -> bool:
        results.append(end_call(*args, **more))
        if len(results) == 1:
            raise OperationalError("server closed the connection unexpectedly")
        return results[-1]

    monkeypatch.setattr(lifecycle, "end_call", lose_first_reply)
    submitted = steps.create_and_call(acme)

    steps.run(submitted)

    assert results == [True, False]
    assert steps.money(acme) == (99, 0)
    assert steps.job_of(submitted).successful_calls == 1


@pytest.mark.usefixtures("_alone")
def test_refused_settlement_is_given_up_at_the_deadline(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any, **__: Any) -> bool:
        raise OperationalError("no")

    submitted = asked(acme)
    claimed = execution.claim(str(submitted.call_id))
    assert claimed is not None
    with monkeypatch.context() as patched:
        patched.setattr(lifecycle, "end_call", refuse)
        execution._settle(claimed.call, lifecycle.Outcome(Call.State.SUCCEEDED), until=0)

    assert steps.call_of(submitted).state == "running"


@pytest.mark.usefixtures("_alone")
def test_lease_of_a_call_is_renewed_while_it_is_settled(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    end_call, renewed = lifecycle.end_call, []

    def renew_meanwhile(*args: Any, **more: Any) -> bool:
        renewed.append(leases.renew())
        return end_call(*args, **more)

    monkeypatch.setattr(lifecycle, "end_call", renew_meanwhile)

    steps.run(asked(acme))

    assert renewed == [1]
    assert leases.renew() == 0


# --- Leases -------------------------------------------------------------------------------------------------


def test_lease_is_renewed_for_the_calls_of_this_process_alone(acme: make.Customer, settings: Any):
    settings.CALL_LEASE_S = 15
    ours, theirs = asked(acme, text="one"), asked(acme, text="two")
    for submitted in (ours, theirs):
        execution.claim(str(submitted.call_id))
        steps.at(steps.call_of(submitted), lease_until=1)
    Call.objects.filter(pk=theirs.call_id).update(claimed_by="another worker")

    with leases.kept(ours.call_id), leases.kept(theirs.call_id):
        renewed = leases.renew()

    left = [(steps.call_of(each).lease_until - clock.db_now()).total_seconds() for each in (ours, theirs)]
    assert renewed == 1
    assert left[0] > 10
    assert left[1] < 2


def test_lease_of_a_call_that_was_taken_over_is_not_renewed(acme: make.Customer):
    submitted = asked(acme)
    execution.claim(str(submitted.call_id))
    take_over(steps.call_of(submitted))

    with leases.kept(submitted.call_id):
        assert leases.renew() == 0
    assert steps.call_of(submitted).lease_until is None


def test_price_of_the_fake_provider_is_told_by_its_header(db: None, settings: Any):
    from tests.harness.fake_provider import Behaviour, running_provider

    make.platform_model(route="litellm", provider_model="gpt-4")
    customer = make.customer(credits=1)
    submitted = asked(customer)
    with running_provider(behaviour=Behaviour(has_cost_header=True)) as running:
        settings.LITELLM_BASE_URL = running.url
        steps.run(submitted)
        (execution_,) = running.executions()

    call = steps.call_of(submitted)
    assert call.provider_cost_nanousd == execution_.billed_nanousd > NANOUSD_PER_PROMPT_TOKEN
    assert (call.prompt_tokens, call.completion_tokens) == (
        execution_.billed_prompt_tokens,
        execution_.billed_completion_tokens,
    )
