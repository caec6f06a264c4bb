"""Models that fail are followed by others of their group; each try has its row, and the served one alone is paid."""

from typing import Any

import pytest
from django.db import OperationalError

from apps.catalog import model_groups
from apps.jobs import asking, candidates
from apps.jobs.gateway import failures
from apps.jobs.gateway.interface import Chunk, CompletionRequest, GatewayError, Usage
from apps.jobs.models import Attempt, Call
from apps.jobs.streaming import marks
from tests import make
from tests.jobs import steps


@pytest.fixture(autouse=True)
def _all_well() -> Any:
    candidates.forget()
    yield
    candidates.forget()


@pytest.fixture
def grouped(db: None, monkeypatch: pytest.MonkeyPatch) -> make.Customer:
    """A customer of the group `chat`: first, second and third, each dearer and with more room than the one before."""
    monkeypatch.setattr(marks, "_ensure_saver", lambda: None)
    for number, name in enumerate(("first", "second", "third"), 1):
        make.alias(
            name, input_usd_per_mtok=number, output_usd_per_mtok=number, context_window_tokens=number * 100_000
        )
    members = [model_groups.Member(name, priority) for priority, name in enumerate(("first", "second", "third"))]
    model_groups.create("chat", members=members, actor=make.TESTER)
    return make.customer(team_id="grouped", credits=100, model_groups=["chat"])


def failing(monkeypatch: pytest.MonkeyPatch, **errors: GatewayError) -> steps.Route:
    """A provider whose models fail as told; the others answer."""

    def reply(request: CompletionRequest) -> Any:
        name = request.provider_model.removeprefix("provider/")
        if name in errors:
            raise errors[name]
        return steps.answer(f"from {name}", prompt=1_000, completion=0)

    return steps.take_route(monkeypatch, reply)


def asked(route: steps.Route) -> list[str]:
    return [request.provider_model.removeprefix("provider/") for request in route.requests]


def called(customer: make.Customer, **more: Any) -> Call:
    submitted = steps.ask(customer, steps.open_job(customer), model="chat", **more)
    steps.run(submitted)
    return steps.call_of(submitted)


@pytest.mark.parametrize(
    "error",
    [failures.unreachable(), failures.timed_out(), failures.by_status(429, ""), failures.misconfigured()],
    ids=lambda error: error.code,
)
def test_model_that_fails_is_followed_by_the_next(
    grouped: make.Customer, monkeypatch: pytest.MonkeyPatch, error: GatewayError
):
    route = failing(monkeypatch, first=error)

    call = called(grouped)

    assert asked(route) == ["first", "second"]
    assert (call.state, call.model_group_used, call.model_used) == ("succeeded", "chat", "second")
    tries = list(Attempt.objects.order_by("started_at", "id").values_list("provider_model", "state", "error_code"))
    assert tries == [("provider/first", "failed", error.code), ("provider/second", "succeeded", "")]
    # A thousand tokens at the second's price of two dollars: the customer's; what the first may have cost is ours.
    assert call.provider_cost_nanousd == 2_000_000
    job = call.job
    assert job.provider_cost_nanousd == 2_000_000
    assert (job.lost_cost_nanousd > 0) == error.was_executed
    assert (job.total_calls, job.successful_calls, job.failed_calls) == (1, 1, 0)


def test_each_try_has_an_id_of_its_own(grouped: make.Customer, monkeypatch: pytest.MonkeyPatch):
    route = failing(monkeypatch, first=failures.unreachable())

    called(grouped)

    ids = [request.attempt_id for request in route.requests]
    assert len(set(ids)) == 2
    assert {str(pk) for pk in Attempt.objects.values_list("pk", flat=True)} == set(ids)


def test_call_fails_when_all_models_do_as_the_last_one_did(grouped: make.Customer, monkeypatch: pytest.MonkeyPatch):
    last = failures.by_status(429, "", retry_after_s=9)
    route = failing(monkeypatch, first=failures.unreachable(), second=failures.timed_out(), third=last)

    call = called(grouped)

    assert asked(route) == ["first", "second", "third"]
    assert (call.state, call.error_status, call.retry_after_s) == ("failed", 429, 9)
    assert list(Attempt.objects.values_list("state", flat=True)) == ["failed"] * 3


def test_fault_of_the_caller_s_own_is_not_tried_again(grouped: make.Customer, monkeypatch: pytest.MonkeyPatch):
    route = failing(monkeypatch, first=failures.rejected())

    assert (called(grouped).error_status, asked(route)) == (400, ["first"])


def test_request_that_is_too_long_goes_to_a_model_with_more_room(
    grouped: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    too_long = failures.by_status(400, "This model's maximum context length is 100000 tokens")
    route = failing(monkeypatch, first=too_long)

    assert (called(grouped).state, asked(route)) == ("succeeded", ["first", "second"])


def test_request_that_is_too_long_goes_to_no_model_with_less_room(db: None, monkeypatch: pytest.MonkeyPatch):
    make.alias("large", context_window_tokens=200_000)
    make.alias("small", context_window_tokens=100_000)
    members = [model_groups.Member("large", 0), model_groups.Member("small", 1)]
    model_groups.create("chat", members=members, actor=make.TESTER)
    customer = make.customer(credits=100, model_groups=["chat"])
    route = failing(monkeypatch, large=failures.too_long())

    assert (called(customer).error_code, asked(route)) == ("context_length_exceeded", ["large"])


def test_model_that_fails_again_and_again_rests_and_is_asked_last(
    grouped: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    route = failing(monkeypatch, first=failures.unreachable())
    for number in range(3):
        called(grouped, text=f"call {number}")
    route.requests.clear()

    call = called(grouped, text="after")

    assert asked(route) == ["second"]
    assert (call.model_used, call.provider_model) == ("second", "provider/second")
    assert Attempt.objects.get(call=call).provider_model == "provider/second"


def test_rest_ends_and_an_answer_makes_well(grouped: make.Customer, monkeypatch: pytest.MonkeyPatch):
    route = failing(monkeypatch, first=failures.unreachable())
    for number in range(3):
        called(grouped, text=f"call {number}")
    now = candidates.time.monotonic()
    monkeypatch.setattr(candidates.time, "monotonic", lambda: now + candidates.REST_S + 1)
    route.reply = lambda request: steps.answer()
    route.requests.clear()

    called(grouped, text="after")

    assert asked(route) == ["first"]
    assert candidates._rests._failures == {}


def test_only_model_is_asked_however_often_it_failed(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    route = steps.take_route(monkeypatch, lambda _: (_ for _ in ()).throw(failures.unreachable()))
    for number in range(5):
        steps.run(steps.ask(acme, steps.open_job(acme), f"call {number}"))

    assert len(route.requests) == 5


@pytest.mark.parametrize("is_committed", [True, False], ids=["reply lost", "refused"])
def test_turn_to_another_model_that_is_repeated_counts_what_was_lost_once(
    grouped: make.Customer, monkeypatch: pytest.MonkeyPatch, is_committed: bool
):
    turned, gone = asking._turned, [1]

    def unsure(*given: Any) -> bool:
        if not is_committed and gone:
            gone.pop()
            raise OperationalError("the connection is closed")
        did = turned(*given)
        if gone:
            gone.pop()
            raise OperationalError("server closed the connection unexpectedly")
        return did

    monkeypatch.setattr(asking, "_turned", unsure)
    route = failing(monkeypatch, first=failures.timed_out())

    call = called(grouped)

    assert (call.state, asked(route)) == ("succeeded", ["first", "second"])
    lost, served = Attempt.objects.order_by("started_at", "id")
    assert (lost.state, served.state) == ("failed", "succeeded")
    assert 0 < lost.cost_nanousd == call.job.lost_cost_nanousd


def test_turn_of_a_claim_that_was_lost_changes_nothing(grouped: make.Customer, monkeypatch: pytest.MonkeyPatch):
    def taken_over(request: CompletionRequest) -> Any:
        Call.objects.filter(pk=request.call_id).update(claim=2)
        raise failures.timed_out()

    route = steps.take_route(monkeypatch, taken_over)

    call = called(grouped)

    assert (asked(route), call.state) == (["first"], "running")
    assert (Attempt.objects.get().state, call.job.lost_cost_nanousd) == ("running", 0)
    # Without the try of the other claim, which nobody made here, the books would not add up.
    Call.objects.update(claim=1)


def test_failure_stands_when_the_database_stays_away(grouped: make.Customer, monkeypatch: pytest.MonkeyPatch):
    def away(*_: Any) -> bool:
        raise OperationalError("away")

    def once(statement: Any, *, until: float) -> Any:
        return statement()

    monkeypatch.setattr(asking, "_turned", away)
    monkeypatch.setattr(asking, "patiently", once)
    route = failing(monkeypatch, first=failures.timed_out())

    call = called(grouped)

    assert (call.state, call.error_code, asked(route)) == ("failed", "provider_timeout", ["first"])


def test_job_metered_in_dollars_uses_no_model_without_a_price(db: None, monkeypatch: pytest.MonkeyPatch):
    make.alias("priced", input_usd_per_mtok=1, output_usd_per_mtok=1)
    make.alias("unpriced")
    members = [model_groups.Member("priced", 0), model_groups.Member("unpriced", 1)]
    model_groups.create("chat", members=members, actor=make.TESTER)
    customer = make.metered_customer(credits=1_000, model_groups=["chat"])
    route = failing(monkeypatch, priced=failures.unreachable())

    assert (called(customer).state, asked(route)) == ("failed", ["priced"])


def test_model_s_own_time_limit_is_kept(db: None, monkeypatch: pytest.MonkeyPatch):
    make.alias("slow", timeout_s=7, is_open=True)
    customer = make.customer(credits=10)
    route = steps.take_route(monkeypatch, lambda _: steps.answer())

    steps.run(steps.ask(customer, steps.open_job(customer), model="slow"))

    assert route.timeouts_s == [7]


class Streams(steps.Route):
    """Streams a role, and then what the model does."""

    def __init__(self, **errors: GatewayError) -> None:
        super().__init__(lambda _: steps.answer())
        self.errors = errors
        self.sends_first: set[str] = set()

    def stream(self, request: CompletionRequest, *, timeout_s: float) -> Any:
        self.requests.append(request)
        name = request.provider_model.removeprefix("provider/")
        role = {"role": "assistant", "content": ""}
        yield Chunk([{"index": 0, "delta": role, "finish_reason": None}])
        if name in self.sends_first:
            yield Chunk([{"index": 0, "delta": {"content": "Some"}, "finish_reason": None}])
        if name in self.errors:
            raise self.errors[name]
        text = {"content": f"from {name}"}
        yield Chunk([{"index": 0, "delta": text, "finish_reason": "stop"}], usage=Usage(1, 1))


def test_stream_that_has_not_begun_is_taken_up_by_the_next_model(
    grouped: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    from apps.jobs.gateway import routes

    route = Streams(first=failures.broken_off())
    monkeypatch.setitem(routes._ROUTES, "demo", route)

    call = called(grouped, is_streamed=True)

    assert asked(route) == ["first", "second"]
    assert (call.state, call.model_used) == ("succeeded", "second")
    assert '"from second"' in call.payload.response


def test_stream_that_has_begun_is_not_begun_anew(grouped: make.Customer, monkeypatch: pytest.MonkeyPatch):
    from apps.jobs.gateway import routes

    route = Streams(first=failures.broken_off())
    route.sends_first = {"first"}
    monkeypatch.setitem(routes._ROUTES, "demo", route)

    call = called(grouped, is_streamed=True)

    assert asked(route) == ["first"]
    assert (call.state, Attempt.objects.get().state) == ("failed", "partial")
