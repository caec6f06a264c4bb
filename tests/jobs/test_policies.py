"""The life of a job in each mode and by each policy, told by its team's posted and held credits after each step."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.credits import card_terms, cards, pricing
from apps.credits.errors import InsufficientCredits, PricesMissing
from apps.credits.models import Entry, RateCardVersion
from apps.jobs import execution, lifecycle, services, sweeper
from apps.jobs.errors import JobCostCap
from apps.jobs.escrow import Budget
from apps.jobs.lifecycle import Outcome
from apps.jobs.models import Attempt, Call, Job
from tests import make
from tests.jobs import steps

USD = 1_000_000_000
FAILED = Outcome(Call.State.FAILED, error_code="provider_error", error_status=500, error_message="LLM call failed: x")


@pytest.fixture
def acme(db: None) -> make.Customer:
    """A hundred credits, and a model of a thousand dollars a million tokens in, two thousand out."""
    make.alias("priced", input_usd_per_mtok=1_000, output_usd_per_mtok=2_000, max_output_tokens=1_000)
    return make.customer(team_id="acme", credits=100, access_groups=["priced"])


def put_in_force(customer: make.Customer, mode: str, **terms: Any) -> RateCardVersion:
    card = cards.create(
        team=customer.team,
        actor=make.TESTER,
        terms=card_terms.columns(card_terms.TermsInput(mode=mode, **terms)),
    )
    return cards.activate(card, 1, actor=make.TESTER)


def ask(customer: make.Customer, job: Job, text: str = "q", *, max_tokens: int = 100) -> services.Submitted:
    return steps.ask(customer, job, text, parameters={"max_tokens": max_tokens})


def serve(submitted: services.Submitted, *, usd: float = 0, tokens: int = 15) -> None:
    """The call's answer, at the provider's cost."""
    assert execution.claim(str(submitted.call_id)) is not None
    outcome = Outcome(
        Call.State.SUCCEEDED, prompt_tokens=tokens - 5, completion_tokens=5, cost_nanousd=int(usd * USD)
    )
    assert lifecycle.end_call(submitted.job_id, submitted.call_id, outcome, claim=steps.call_of(submitted).claim)


def fail(submitted: services.Submitted, *, lost_usd: float = 0) -> None:
    assert execution.claim(str(submitted.call_id)) is not None
    outcome = Outcome(Call.State.FAILED, lost_cost_nanousd=int(lost_usd * USD), error_code="provider_error")
    assert lifecycle.end_call(submitted.job_id, submitted.call_id, outcome, claim=steps.call_of(submitted).claim)


def cancel(job: Job) -> Job:
    locked = lifecycle.lock_job(job.pk)
    lifecycle.close_job(locked, Job.Status.CANCELLED, closed_by="operator")
    return steps.fresh(job)


def abandon(job: Job) -> Job:
    steps.at(job, active_at=-10 * 24 * 3600)
    assert sweeper._close_abandoned_jobs() == 1
    return steps.fresh(job)


def test_flat_job(acme: make.Customer):
    put_in_force(acme, "flat", price_credits=4)
    job = steps.open_job(acme)
    assert steps.money(acme) == (100, 0)
    serve(ask(acme, job, "one"), usd=0.5)
    assert steps.money(acme) == (100, 4)
    serve(ask(acme, job, "two"), usd=3)
    assert steps.money(acme) == (100, 4)
    steps.complete(acme, job)
    assert steps.money(acme) == (96, 0)


def test_job_metered_in_usd_under_a_ceiling(acme: make.Customer):
    put_in_force(acme, "metered_usd", cost_markup_percentage=50, ceiling_credits=20)
    job = steps.open_job(acme)
    first = ask(acme, job)
    # At most 37 tokens in and 100 out: about 0.24 USD, with markup 0.36, at ten credits a dollar three.
    assert steps.money(acme) == (100, 3)
    serve(first, usd=0.2)
    second = ask(acme, job, "more", max_tokens=1_000)
    assert steps.money(acme) == (100, 20)
    serve(second, usd=1)
    assert steps.complete(acme, job).charged_micros == 18_000_000
    assert steps.money(acme) == (82, 0)


def test_job_metered_in_tokens(acme: make.Customer):
    put_in_force(acme, "metered_tokens", tokens_per_credit=10, rounding="up")
    job = steps.open_job(acme)
    submitted = ask(acme, job)
    held = steps.money(acme)[1]
    assert held >= 14
    serve(submitted, tokens=91)
    steps.complete(acme, job)
    assert steps.money(acme) == (90, 0)


def test_hybrid_job_is_flat_until_its_allowance_is_used_and_ends_at_its_ceiling(acme: make.Customer):
    put_in_force(acme, "hybrid", price_credits=2, allowance_usd=1, ceiling_credits=12)
    job = steps.open_job(acme)
    first = ask(acme, job, "one")
    assert steps.money(acme) == (100, 2)
    serve(first, usd=0.9)
    second = ask(acme, job, "two")
    # What the allowance may be exceeded by is held too.
    assert steps.money(acme) == (100, 3)
    serve(second, usd=0.2)
    assert steps.money(acme) == (100, 3)
    third = ask(acme, job, "three", max_tokens=1_000)
    assert steps.money(acme) == (100, 12)
    serve(third, usd=0.4)
    assert steps.money(acme)[1] == 7
    steps.complete(acme, job)
    assert steps.money(acme) == (93, 0)


def test_hybrid_job_with_an_allowance_of_tokens(acme: make.Customer):
    put_in_force(acme, "hybrid", price_credits=2, allowance_tokens=1_000, tokens_per_credit=100)
    job = steps.open_job(acme)
    serve(ask(acme, job), tokens=900)
    serve(ask(acme, job, "more"), tokens=350)
    assert steps.complete(acme, job).charged_micros == 4_000_000


# --- B12. Refunds and failed work by policy ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "charged"),
    [
        ({}, 0),
        ({"on_failed": "cost", "cost_markup_percentage": 50}, 3),
        ({"on_failed": "cost", "credits_per_dollar": 1000}, 4),
        ({"on_failed": "percent", "policy_percent": 50}, 2),
    ],
)
def test_B12_failed_job_pays_by_its_cards_policy(acme: make.Customer, policy: dict[str, Any], charged: int):
    put_in_force(acme, "flat", price_credits=4, **policy)
    job = steps.open_job(acme)
    serve(ask(acme, job), usd=0.2)
    assert steps.money(acme) == (100, 4)

    job = steps.complete(acme, job, "failed")

    assert (steps.money(acme), job.status) == ((100 - charged, 0), "failed")
    assert (job.charge_state, job.credit_applied) == (("charged", True) if charged else ("free", False))


@pytest.mark.parametrize(
    ("policy", "charged"),
    [({}, 0), ({"on_cancelled": "cost"}, 2), ({"on_cancelled": "percent", "policy_percent": 25}, 1)],
)
def test_B12_cancelled_job_pays_by_its_cards_policy(acme: make.Customer, policy: dict[str, Any], charged: int):
    put_in_force(acme, "flat", price_credits=4, **policy)
    job = steps.open_job(acme)
    serve(ask(acme, job), usd=0.2)

    cancel(job)

    assert steps.money(acme) == (100 - charged, 0)


@pytest.mark.parametrize(
    ("policy", "charged"), [({}, 4), ({"on_partly_failed": "cost"}, 2), ({"on_partly_failed": "percent"}, 3)]
)
def test_B12_partly_failed_job_pays_by_its_cards_policy(acme: make.Customer, policy: dict[str, Any], charged: int):
    put_in_force(acme, "flat", price_credits=4, **policy)
    job = steps.open_job(acme)
    for number in range(3):
        serve(ask(acme, job, f"{number}"), usd=0.2 / 3)
    fail(ask(acme, job, "bad"))

    steps.complete(acme, job)

    assert round(steps.money(acme)[0], 3) == 100 - charged


@pytest.mark.parametrize(("policy", "charged"), [({}, 4), ({"on_abandoned": "free"}, 0)])
def test_B12_abandoned_job_pays_by_its_cards_policy(acme: make.Customer, policy: dict[str, Any], charged: int):
    put_in_force(acme, "flat", price_credits=4, **policy)
    job = steps.open_job(acme)
    serve(ask(acme, job), usd=0.2)

    job = abandon(job)

    assert (job.status, job.closed_by, steps.money(acme)) == ("completed", "sweeper", (100 - charged, 0))


def test_B12_job_at_its_deadline_is_not_abandoned(acme: make.Customer):
    """Else a deadline of a second would make any job free by a card of which abandoned ones are."""
    put_in_force(acme, "flat", price_credits=4, on_abandoned="free")
    job = steps.open_job(acme, budget=Budget(deadline=60))
    serve(ask(acme, job), usd=0.2)
    steps.at(job, deadline_at=-1)

    assert sweeper._close_jobs_past_deadline() == 1

    job = steps.fresh(job)
    assert (job.status, job.closed_by, steps.money(acme)) == ("completed", "deadline", (96, 0))


@pytest.mark.parametrize("verdict", ["completed", "failed"])
def test_B12_the_servers_outcome_decides_not_the_clients_word(acme: make.Customer, verdict: str):
    """Nothing succeeded: to complete such a job is to fail it; and to call a served job failed costs its card's
    percentage."""
    put_in_force(acme, "flat", price_credits=4, on_failed="percent", policy_percent=50)
    nothing, served = steps.open_job(acme), steps.open_job(acme)
    fail(ask(acme, nothing, "a"))
    serve(ask(acme, served, "b"))

    steps.complete(acme, nothing, verdict)
    assert steps.money(acme) == (100, 4)
    steps.complete(acme, served, "failed")
    assert steps.money(acme) == (98, 0)


def test_B12_policy_waits_for_open_calls(acme: make.Customer):
    put_in_force(acme, "flat", price_credits=4, on_failed="cost")
    job = steps.open_job(acme)
    late = ask(acme, job)
    job = steps.complete(acme, job, "failed")
    assert (job.charge_state, steps.money(acme)) == ("pending", (100, 4))

    serve(late, usd=0.25)

    job = steps.fresh(job)
    assert (job.status, job.charge_state, steps.money(acme)) == ("failed", "charged", (97.5, 0))


def test_B12_charge_by_policy_says_why(acme: make.Customer):
    put_in_force(acme, "flat", price_credits=4, on_failed="percent", policy_percent=50)
    job = steps.open_job(acme, "resume")
    serve(ask(acme, job))
    steps.complete(acme, job, "failed")

    assert Entry.objects.get(kind="charge").reason == "resume (failed: 50 percent)"


def test_B12_terms_are_those_of_the_jobs_first_call(acme: make.Customer):
    put_in_force(acme, "flat", price_credits=4, on_failed="percent", policy_percent=50)
    job = steps.open_job(acme)
    serve(ask(acme, job))
    card = cards.matching(team=acme.team)[0]
    free = card_terms.columns(card_terms.TermsInput(mode="flat"))
    cards.activate(card, cards.add_draft(card, free, actor=make.TESTER).number, actor=make.TESTER)

    steps.complete(acme, job, "failed")

    assert steps.money(acme) == (98, 0)


# --- Included retries --------------------------------------------------------------------------------------


def test_failed_tries_beyond_those_included_are_metered(acme: make.Customer):
    put_in_force(acme, "metered_usd", included_tries=1)
    job = steps.open_job(acme)
    for number in range(3):
        fail(ask(acme, job, f"{number}"), lost_usd=0.2)
    serve(ask(acme, job, "good"), usd=0.1)

    job = steps.complete(acme, job)

    assert (job.lost_tries, job.lost_cost_nanousd, job.billed_lost_nanousd) == (3, 6 * USD // 10, 4 * USD // 10)
    # 0.1 for the answer, and two of three failed tries.
    assert steps.money(acme) == (95, 0)


def test_tries_lost_with_their_worker_are_counted_as_included(acme: make.Customer):
    put_in_force(acme, "metered_usd", included_tries=1)
    job = steps.open_job(acme)
    submitted = ask(acme, job, "lost")
    for _ in range(2):
        assert execution.claim(str(submitted.call_id)) is not None
        Call.objects.filter(pk=submitted.call_id).update(state="queued")
    serve(submitted, usd=0.1)

    job = steps.complete(acme, job)

    (lost,) = set(Attempt.objects.filter(state="abandoned").values_list("cost_nanousd", flat=True))
    assert (job.lost_tries, job.billed_lost_nanousd) == (2, lost)


def test_all_failed_tries_are_the_platforms_unless_the_card_says(acme: make.Customer):
    put_in_force(acme, "metered_usd")
    job = steps.open_job(acme)
    for number in range(3):
        fail(ask(acme, job, f"{number}"), lost_usd=0.2)
    serve(ask(acme, job, "good"), usd=0.2)
    steps.complete(acme, job)
    assert steps.money(acme) == (98, 0)


# --- The cap of provider cost ------------------------------------------------------------------------------


def test_call_beyond_a_flat_jobs_cost_cap_is_refused_and_holds_nothing_more(acme: make.Customer):
    put_in_force(acme, "flat", price_credits=4, cost_cap_usd=1)
    job = steps.open_job(acme)
    with pytest.raises(JobCostCap):
        ask(acme, job, "too long", max_tokens=1_000)
    assert steps.money(acme) == (100, 0)

    first = ask(acme, job, "one", max_tokens=300)
    with pytest.raises(JobCostCap):
        ask(acme, job, "two", max_tokens=300)  # the bound of the open call counts
    serve(first, usd=0.1)
    serve(ask(acme, job, "two", max_tokens=300), usd=0.6)
    with pytest.raises(JobCostCap):
        ask(acme, job, "three", max_tokens=300)

    steps.complete(acme, job)
    assert steps.money(acme) == (96, 0)


def test_lost_cost_counts_to_the_cap(acme: make.Customer):
    put_in_force(acme, "flat", cost_cap_usd=1)
    job = steps.open_job(acme)
    fail(ask(acme, job, "one"), lost_usd=0.9)
    with pytest.raises(JobCostCap):
        ask(acme, job, "two")


def test_capped_job_sends_its_cap_of_output_along(acme: make.Customer):
    put_in_force(acme, "flat", cost_cap_usd=10)
    submitted = steps.ask(acme, steps.open_job(acme))
    assert steps.call_of(submitted).max_output_tokens == 1_000


@pytest.mark.parametrize(
    "terms", [{"mode": "flat", "cost_cap_usd": 1}, {"mode": "hybrid", "allowance_usd": 1}, {"mode": "metered_usd"}]
)
def test_model_without_a_price_is_refused_where_cost_decides(acme: make.Customer, terms: dict[str, Any]):
    make.platform_model()
    customer = make.customer(credits=100)
    put_in_force(customer, **terms)
    with pytest.raises(PricesMissing):
        steps.ask(customer, steps.open_job(customer))
    assert steps.money(customer) == (100, 0)


# --- When a version takes effect ---------------------------------------------------------------------------


def test_version_scheduled_ahead_prices_no_job_before_its_instant(acme: make.Customer):
    put_in_force(acme, "flat", price_credits=2)
    card = cards.matching(team=acme.team)[0]
    dearer = card_terms.columns(card_terms.TermsInput(mode="flat", price_credits=50))
    cards.add_draft(card, dearer, actor=make.TESTER)
    cards.activate(card, 2, actor=make.TESTER, effective_from=timezone.now() + timedelta(hours=1))
    pricing.forget_cached()

    ask(acme, steps.open_job(acme))

    assert steps.money(acme) == (100, 2)


# --- Property ----------------------------------------------------------------------------------------------

_CALLS = st.lists(
    st.tuples(
        st.integers(1, 300), st.integers(0, 100), st.sampled_from(["serve", "fail", "fail dearly"]), st.booleans()
    ),
    min_size=1,
    max_size=5,
)


@given(
    mode=st.sampled_from(["flat", "metered_usd", "hybrid"]),
    on=st.sampled_from(["free", "cost", "percent"]),
    partly=st.sampled_from(["full", "cost", "percent"]),
    included=st.none() | st.integers(0, 2),
    verdict=st.sampled_from(["completed", "failed", "cancelled", "abandoned"]),
    calls=_CALLS,
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_whatever_happens_a_job_pays_at_most_what_was_held_or_what_is_missing_is_recorded(
    acme: make.Customer, mode: str, on: str, partly: str, included: int | None, verdict: str, calls: Any
):
    """Whole lives of jobs: after each, nothing is held, and charged + uncollected is what was due."""
    customer = make.customer(credits=6, access_groups=["priced"])
    put_in_force(
        customer,
        mode,
        price_credits=2,
        on_failed=on,
        on_cancelled=on,
        on_partly_failed=partly,
        policy_percent=40,
        included_tries=included,
        **({"allowance_usd": "0.1"} if mode == "hybrid" else {}),
    )
    job, open_calls, most_held = steps.open_job(customer), [], 0
    for number, (max_tokens, percent, how, stays_open) in enumerate(calls):
        try:
            open_calls.append((ask(customer, job, f"{number}", max_tokens=max_tokens), percent, how))
        except InsufficientCredits:
            continue
        most_held = max(most_held, steps.fresh(job).held_micros)
        if not stays_open:
            _end(open_calls)
    if verdict == "abandoned":
        _end(open_calls)
        abandon(job)
    elif verdict == "cancelled":
        cancel(job)
    else:
        steps.complete(customer, job, verdict)
    _end(open_calls)

    job, terms = steps.fresh(job), lifecycle.terms_of(steps.fresh(job))
    assert job.charge_state in ("charged", "free")
    assert (job.held_micros, steps.money(customer)[1]) == (0, 0)
    due = lifecycle.due_of(job, terms).micros if terms else 0
    if job.charge_state == "charged":
        assert job.charged_micros + job.uncollected_micros == due
    elif not (verdict in ("failed", "cancelled") and on == "free"):
        assert due == 0
    if all(how != "fail dearly" for _, _, how, _ in calls):
        assert job.charged_micros <= most_held
        assert job.uncollected_micros == 0


def _end(calls: list[Any]) -> None:
    while calls:
        submitted, percent, how = calls.pop()
        bound_usd = steps.call_of(submitted).bound_nanousd / USD
        if how == "serve":
            serve(submitted, usd=bound_usd * percent / 100)
        else:
            # A dear one has tried more often than its bound foresaw.
            fail(submitted, lost_usd=bound_usd * percent / 100 * (5 if how == "fail dearly" else 1))
