"""What a call costs: frozen at its admission, by classes of tokens, and by which of several prices (B8, B9)."""

import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from apps.catalog import prices
from apps.catalog import services as catalog
from apps.catalog.price_models import Price
from apps.catalog.rates import Rates
from apps.core import append_only, clock
from apps.credits.errors import PricesMissing
from apps.jobs import bounds, candidates
from apps.jobs.gateway import failures, routes
from apps.jobs.gateway.interface import Chunk, GatewayError, Usage
from apps.jobs.gateway.usage import read_usage
from apps.jobs.models import Attempt, Call
from tests import make
from tests.jobs import steps

RATES = Rates(10**9, 4 * 10**9, cached_input=10**8, reasoning=6 * 10**9)
AHEAD = datetime(2999, 1, 1, tzinfo=UTC)
CACHED = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 80},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
CACHED_COST = 20 * 1000 + 80 * 100 + 20 * 4000 + 30 * 6000


def price(rates: Rates = RATES, model: str = "provider/chat", **more: Any) -> Price:
    return prices.add(model, rates, actor=make.TESTER, **more)


@pytest.fixture
def flat(db: None) -> make.Customer:
    make.alias("chat", provider_model="provider/chat", is_open=True)
    return make.customer(team_id="flat", credits=100)


@pytest.fixture
def metered(db: None) -> make.Customer:
    make.alias("chat", provider_model="provider/chat", is_open=True)
    return make.metered_customer(team_id="metered", credits=1000)


def ask(customer: make.Customer, text: str = "Hi", **more: Any) -> Any:
    return steps.ask(customer, more.pop("job", None) or steps.open_job(customer), text, model="chat", **more)


def answering(monkeypatch: pytest.MonkeyPatch, **more: Any) -> steps.Route:
    return steps.take_route(monkeypatch, lambda _: steps.answer(**more))


def served(customer: make.Customer, **more: Any) -> Call:
    submitted = ask(customer, **more)
    assert steps.run(submitted)
    return steps.call_of(submitted)


# --- B8: prices that have dates ----------------------------------------------------------------------------


def test_b8_call_keeps_the_price_of_its_admission(flat: make.Customer, monkeypatch: pytest.MonkeyPatch):
    answering(monkeypatch, prompt=1000, completion=0)
    job, first_price = steps.open_job(flat), price()
    before = ask(flat, "before", job=job)
    second_price = price(Rates(7 * 10**9, 0))
    after = ask(flat, "after", job=job)

    steps.run(before)
    steps.run(after)

    calls = [steps.call_of(before), steps.call_of(after)]
    assert [call.price_id for call in calls] == [first_price.pk, second_price.pk]
    assert [call.provider_cost_nanousd for call in calls] == [1000 * 1000, 1000 * 7000]
    assert [call.input_nanousd_per_mtok for call in calls] == [10**9, 7 * 10**9]
    assert {call.price_source for call in calls} == {"price"}


def test_b8_scheduled_price_is_frozen_on_calls_from_its_instant_on(flat: make.Customer):
    current, scheduled = price(), price(Rates(7, 7), valid_from=AHEAD)
    before = steps.call_of(ask(flat, "before"))
    # Time passes.
    with append_only.lifted():
        Price.objects.filter(pk=scheduled.pk).update(valid_from=clock.from_now(0))
    catalog.forget_cached()
    after = steps.call_of(ask(flat, "after"))

    assert (before.price_id, after.price_id) == (current.pk, scheduled.pk)


def test_b8_closed_calls_never_change(flat: make.Customer, monkeypatch: pytest.MonkeyPatch):
    answering(monkeypatch)
    price()
    call = served(flat)
    before = {field.name: getattr(call, field.attname) for field in Call._meta.concrete_fields}

    price(Rates(99, 99))
    make.alias("other", input_usd_per_mtok=1, output_usd_per_mtok=1)
    assert not steps.run(steps.services.Submitted(call.job_id, call.pk, is_new=False))

    after = Call.objects.get(pk=call.pk)
    assert {field.name: getattr(after, field.attname) for field in Call._meta.concrete_fields} == before


# --- B9: token arithmetic ----------------------------------------------------------------------------------


def test_b9_classes_are_priced_each_and_kept(flat: make.Customer, monkeypatch: pytest.MonkeyPatch):
    answering(monkeypatch, usage=read_usage(CACHED))
    price()

    call = served(flat)

    assert call.usage_classes == {"input": 20, "cached_input": 80, "output": 20, "reasoning": 30}
    assert (call.prompt_tokens, call.completion_tokens, call.provider_cost_nanousd) == (100, 50, CACHED_COST)
    assert (call.usage_mismatch, call.is_estimated) == (False, False)
    assert call.job.provider_cost_nanousd == Attempt.objects.get().cost_nanousd == CACHED_COST


def test_plain_usage_keeps_no_classes(flat: make.Customer, monkeypatch: pytest.MonkeyPatch):
    answering(monkeypatch, usage=Usage(3, 2))

    assert served(flat).usage_classes is None


def test_b9_usage_that_contradicts_its_total_is_flagged_and_costs_what_the_total_says(
    flat: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    answering(monkeypatch, usage=read_usage({**CACHED, "total_tokens": 200}), cost_nanousd=5)
    price()

    call = served(flat)

    assert call.usage_mismatch is Attempt.objects.get().usage_mismatch is True
    assert (call.prompt_tokens, call.completion_tokens) == (100, 100)
    # No discount, and no word of the backend's that is cheaper.
    assert call.provider_cost_nanousd == 100 * 1000 + 70 * 4000 + 30 * 6000
    assert call.price_source == "price"


@pytest.mark.postgresql
def test_group_of_ends_writes_classes_sources_and_flags(flat: make.Customer, monkeypatch: pytest.MonkeyPatch):
    from apps.jobs import execution, lifecycle

    price()
    usages = {"a": read_usage(CACHED), "b": read_usage({**CACHED, "total_tokens": 200}), "c": Usage(1, 1)}
    ends, job = [], steps.open_job(flat)
    for text, usage in usages.items():
        submitted = ask(flat, text, job=job)
        claimed = execution.claim(str(submitted.call_id))
        assert claimed is not None
        answering(monkeypatch, usage=usage, cost_nanousd=7 if text == "c" else None)
        ends.append(lifecycle.End(claimed.call, execution.ask(claimed)))

    assert lifecycle.end_calls(ends) == [True, True, True]

    calls = [Call.objects.get(pk=end.call.pk) for end in ends]
    assert [call.usage_classes for call in calls] == [usages["a"].classes, usages["b"].classes, None]
    assert [call.usage_mismatch for call in calls] == [False, True, False]
    assert [call.price_source for call in calls] == ["price", "price", "reported"]
    assert [attempt.usage_mismatch for attempt in Attempt.objects.order_by("id")] == [False, True, False]


def piece(text: str = "", *, finish: str | None = None, **more: Any) -> Chunk:
    delta = {"role": "assistant", "content": text}
    return Chunk([{"index": 0, "delta": delta, "finish_reason": finish}], **more)


def streaming(monkeypatch: pytest.MonkeyPatch, *chunks: Chunk | GatewayError) -> None:
    class Streams(steps.Route):
        def stream(self, request: Any, *, timeout_s: float) -> Any:
            for chunk in chunks:
                if isinstance(chunk, GatewayError):
                    raise chunk
                yield chunk

    monkeypatch.setitem(routes._ROUTES, "demo", Streams(lambda _: steps.answer()))


def test_b9_stream_s_classes_are_priced_each(flat: make.Customer, monkeypatch: pytest.MonkeyPatch):
    streaming(monkeypatch, piece("Yes.", finish="stop"), Chunk([], usage=read_usage(CACHED)))
    price()

    call = served(flat, is_streamed=True)

    assert call.usage_classes == {"input": 20, "cached_input": 80, "output": 20, "reasoning": 30}
    assert (call.provider_cost_nanousd, call.price_source) == (CACHED_COST, "price")


def test_stream_that_broke_off_costs_what_was_sent_on_or_is_unknown(
    flat: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    streaming(monkeypatch, piece("four byte " * 20), failures.broken_off())
    job = steps.open_job(flat)
    unpriced = served(flat, is_streamed=True, job=job)
    price()
    priced = served(flat, text="again", is_streamed=True, job=job)

    assert [call.price_source for call in (unpriced, priced)] == ["none", "price"]
    assert priced.provider_cost_nanousd == priced.prompt_tokens * 1000 + 50 * 4000
    assert (priced.job.unpriced_calls, priced.job.known_cost_nanousd) == (1, None)


# --- Which price counts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "dated", "estimate", "reported", "source", "cost"),
    [
        (True, True, True, 999, "alias", 10 * 1000),
        (False, True, True, 999, "reported", 999),
        (False, True, True, 0, "price", 10 * 3000),
        (False, True, True, None, "price", 10 * 3000),
        (False, False, True, 999, "reported", 999),
        (False, False, True, 0, "estimate", 10 * 5000),
        (False, False, True, None, "estimate", 10 * 5000),
        (False, False, False, 999, "reported", 999),
        (False, False, False, 0, "reported", 0),
        (False, False, False, None, "none", 0),
    ],
)
def test_alias_before_backend_before_price_before_estimate(
    db: None,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    own: bool,
    dated: bool,
    estimate: bool,
    reported: int | None,
    source: str,
    cost: int,
):
    settings.UNPRICED_MODELS = "estimate" if estimate else "refuse"
    settings.UNPRICED_INPUT_NANOUSD_PER_MTOK = 5 * 10**9
    own_prices = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 2} if own else {}
    make.alias("chat", provider_model="provider/chat", is_open=True, **own_prices)
    if dated:
        price(Rates(3 * 10**9, 0))
    answering(monkeypatch, prompt=10, completion=0, cost_nanousd=reported)

    call = served(make.customer(credits=1))

    assert (call.price_source, call.provider_cost_nanousd) == (source, cost)
    assert call.job.unpriced_calls == (1 if source == "none" else 0)


def test_metered_job_is_refused_a_model_without_a_price_until_it_has_one(metered: make.Customer):
    with pytest.raises(PricesMissing):
        ask(metered)
    price()

    assert steps.call_of(ask(metered)).bound_nanousd > 0


def test_metered_job_pays_the_estimate_when_there_is_one(
    metered: make.Customer, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    settings.UNPRICED_MODELS = "estimate"
    answering(monkeypatch, prompt=1_000_000, completion=1_000_000)
    monkeypatch.setattr("apps.jobs.metering._ABSURD_FLOOR_TOKENS", 10**9)
    submitted = ask(metered)
    steps.run(submitted)

    job = steps.complete(metered, submitted.job_id)

    # A dollar and two dollars, at ten credits a dollar.
    assert (job.charged_micros, job.provider_cost_nanousd) == (30 * 10**6, 3 * 10**9)


def test_fallback_freezes_a_price_of_its_own(db: None, monkeypatch: pytest.MonkeyPatch):
    make.alias("first", provider_model="provider/first")
    make.alias("second", provider_model="provider/second")
    make.model_group("agent", "first", "second")
    customer = make.customer(credits=1, model_groups=["agent"])
    price(model="provider/first")
    second = price(Rates(10**9, 10**9, cached_input=0, reasoning=0), model="provider/second")
    candidates.forget()

    def reply(request: Any) -> Any:
        if request.provider_model == "provider/first":
            raise GatewayError("provider_error", "it failed", status=500, is_retryable=True)
        return steps.answer(usage=read_usage(CACHED))

    steps.take_route(monkeypatch, reply)
    submitted = steps.ask(customer, steps.open_job(customer), model="agent")
    price(Rates(99, 99), model="provider/second")
    steps.run(submitted)

    call = steps.call_of(submitted)
    assert (call.price_id, call.price_source, call.provider_model) == (second.pk, "price", "provider/second")
    assert call.provider_cost_nanousd == 20 * 1000 + 20 * 1000


def test_first_model_of_several_is_asked_as_it_was_frozen(db: None, monkeypatch: pytest.MonkeyPatch):
    """A price's id that went through JSON is the one on the call: nothing of it is written anew."""
    make.alias("first", provider_model="provider/first")
    make.model_group("agent", "first", "provider/raw")
    customer = make.customer(credits=1, model_groups=["agent"])
    price(model="provider/first")
    answering(monkeypatch)
    monkeypatch.setattr("apps.jobs.asking._begin_with", lambda call, model: pytest.fail("it was changed"))

    steps.run(steps.ask(customer, steps.open_job(customer), model="agent"))


def test_price_per_request_and_per_image(flat: make.Customer, monkeypatch: pytest.MonkeyPatch):
    answering(monkeypatch, prompt=0, completion=1)
    price(Rates(0, 10**9, per_request=500, per_image=7))
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    message = {"role": "user", "content": [{"type": "text", "text": "What are these?"}, image, image]}

    call = served(flat, parameters={"messages": [message]})

    assert call.provider_cost_nanousd == 1000 + 500 + 14
    assert call.bound_nanousd >= call.provider_cost_nanousd


def test_price_that_cannot_be_read_is_not_worth_an_answer(
    flat: make.Customer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING, logger="saasllm")
    answering(monkeypatch, usage=read_usage(CACHED))
    price()
    submitted = ask(flat)
    prices._rates.clear()

    def away(price_ids: Any) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr(prices, "load", away)
    steps.run(submitted)

    # By what is frozen on the call itself, without the classes.
    assert steps.call_of(submitted).provider_cost_nanousd == 100 * 1000 + 50 * 4000
    assert "price could not be read" in caplog.text


def test_plain_call_reads_no_price_while_the_provider_works(
    flat: make.Customer, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
):
    price()
    submitted = ask(flat)
    prices._rates.clear()
    asked: list[int] = []
    monkeypatch.setattr(prices, "rates_of", lambda price_id: asked.append(len(prices._rates)) or RATES)
    answering(monkeypatch)
    steps.run(submitted)

    assert asked == [1]


def test_price_costs_a_plain_call_no_query(flat: make.Customer, monkeypatch: pytest.MonkeyPatch):
    answering(monkeypatch)

    def queries(text: str) -> int:
        catalog.forget_cached()
        with CaptureQueriesContext(connection) as captured:
            served(flat, text=text)
        return len(captured)

    queries("first")
    without = queries("without")
    price()
    queries("the price is read once")

    assert queries("with") == without


# --- Bounds ------------------------------------------------------------------------------------------------


def bound(rates: Rates, **body: Any) -> bounds.Bound:
    model = catalog.ResolvedModel(
        "m", "m", "litellm", "", "m", rates.input, rates.output, None, price_source="price", price_rates=rates
    )
    return bounds.of_call({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10, **body}, model)


AUDIO = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}]


@pytest.mark.parametrize(
    ("rates", "body", "input_rate", "output_rate"),
    [
        (Rates(2, 3), {}, 2, 3),
        (Rates(2, 3, cached_input=1), {}, 2, 3),
        (Rates(2, 3, cache_write=4, cache_write_1h=5), {}, 5, 3),
        (Rates(2, 3, reasoning=7), {}, 2, 7),
        (Rates(2, 3, image_output=30), {}, 2, 30),
        (Rates(2, 3, audio_input=40, audio_output=80), {}, 2, 3),
        (Rates(2, 3, audio_input=40, audio_output=80), {"messages": AUDIO}, 40, 3),
        (Rates(2, 3, audio_input=40, audio_output=80), {"modalities": ["text", "audio"]}, 2, 80),
    ],
)
def test_bound_is_at_the_dearest_class_that_may_apply(
    rates: Rates, body: dict[str, Any], input_rate: int, output_rate: int
):
    scaled = {name: rate * 10**9 for name, rate in rates.given().items()}
    found = bound(Rates(**scaled), **body)

    assert found.nanousd == (found.input_tokens * input_rate + found.output_tokens * output_rate) * 1000


_RATE = st.integers(0, 10**13)
_COUNT = st.integers(0, 10**6)


@given(
    rates=st.builds(
        Rates,
        input=_RATE,
        output=_RATE,
        cached_input=st.none() | _RATE,
        cache_write=st.none() | _RATE,
        cache_write_1h=st.none() | _RATE,
        reasoning=st.none() | _RATE,
        image_output=st.none() | _RATE,
        per_request=_RATE,
    ),
    counts=st.lists(_COUNT, min_size=7, max_size=7),
)
def test_whatever_the_classes_they_cost_no_more_than_the_bound(rates: Rates, counts: list[int]):
    names = ("input", "cached_input", "cache_write", "cache_write_1h", "output", "reasoning", "image_output")
    classes = dict(zip(names, counts, strict=True))
    outputs = sum(classes[name] for name in ("output", "reasoning", "image_output"))
    inputs = sum(classes.values()) - outputs
    model = catalog.ResolvedModel(
        "m", "m", "litellm", "", "m", rates.input, rates.output, None, price_source="price", price_rates=rates
    )

    assert rates.cost_nanousd(classes) <= bounds._cost_nanousd(model, {}, inputs, outputs)


def test_hold_covers_what_the_dearest_classes_cost(metered: make.Customer, monkeypatch: pytest.MonkeyPatch):
    price(Rates(10**9, 10**9, cache_write=2 * 10**9, reasoning=50 * 10**9))
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 500,
        "total_tokens": 520,
        "cache_creation_input_tokens": 20,
        "completion_tokens_details": {"reasoning_tokens": 500},
    }
    answering(monkeypatch, usage=read_usage(usage))
    submitted = ask(metered, parameters={"max_tokens": 500})
    steps.run(submitted)

    job = steps.complete(metered, submitted.job_id)

    assert job.provider_cost_nanousd == 20 * 2000 + 500 * 50_000
    assert job.uncollected_micros == 0
