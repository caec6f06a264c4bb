"""How calls end and jobs close: one charge at most, when it is due, and nothing held afterwards."""

from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.core import clock
from apps.credits.models import Entry, Hold
from apps.jobs import execution, lifecycle, services
from apps.jobs.lifecycle import Outcome
from apps.jobs.models import Attempt, Call, Job
from tests import make
from tests.jobs import steps

MICROS = 1_000_000
TERMINAL = [Call.State.SUCCEEDED, Call.State.FAILED, Call.State.CANCELLED, Call.State.EXPIRED]
FAILED = Outcome(Call.State.FAILED, error_code="provider_error", error_status=500, error_message="LLM call failed: x")


@pytest.fixture
def metered(db: None) -> make.Customer:
    """A thousand dollars a million tokens in, two thousand out, ten credits a dollar."""
    make.alias("priced", input_usd_per_mtok=1_000, output_usd_per_mtok=2_000, max_output_tokens=1_000)
    return make.metered_customer(team_id="metered", credits=1_000, access_groups=["priced"])


def end(submitted: services.Submitted, outcome: Outcome | None = None) -> bool:
    """End a call as its worker would; a served one gets a claim and an attempt first."""
    outcome = outcome or Outcome(Call.State.SUCCEEDED, prompt_tokens=10, completion_tokens=5)
    if outcome.state == Call.State.SUCCEEDED:
        assert execution.claim(str(submitted.call_id)) is not None
    return lifecycle.end_call(submitted.job_id, submitted.call_id, outcome, claim=steps.call_of(submitted).claim)


def served(nanousd: int = 0, *, tokens: int = 15) -> Outcome:
    return Outcome(
        Call.State.SUCCEEDED, prompt_tokens=tokens - 5, completion_tokens=5, cost_nanousd=nanousd, latency_ms=40
    )


def charges() -> list[int]:
    return list(Entry.objects.filter(kind=Entry.Kind.CHARGE).values_list("amount_micros", flat=True))


# --- The end of a call --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", TERMINAL)
def test_ended_call_never_ends_again(acme: make.Customer, state: Call.State):
    submitted = steps.ask(acme, steps.open_job(acme))
    assert end(submitted, Outcome(state)) is True
    before = Job.objects.values().get()

    for again in TERMINAL:
        assert lifecycle.end_call(submitted.job_id, submitted.call_id, Outcome(again)) is False

    assert steps.call_of(submitted).state == state
    assert Job.objects.values().get() == before


@pytest.mark.parametrize("state", TERMINAL)
def test_ended_call_is_not_claimed(acme: make.Customer, state: Call.State):
    submitted = steps.ask(acme, steps.open_job(acme))
    end(submitted, Outcome(state))

    assert execution.claim(str(submitted.call_id)) is None


def test_old_claim_ends_nothing(acme: make.Customer):
    submitted = steps.ask(acme, steps.open_job(acme))
    Call.objects.filter(pk=submitted.call_id).update(claim=3)

    assert lifecycle.end_call(submitted.job_id, submitted.call_id, FAILED, claim=2) is False
    assert steps.call_of(submitted).state == "queued"


def test_call_ends_under_its_own_job_alone(acme: make.Customer):
    submitted, other = steps.ask(acme, steps.open_job(acme)), steps.open_job(acme)

    assert lifecycle.end_call(other.pk, submitted.call_id, FAILED) is False


def test_each_end_counts_where_it_belongs(acme: make.Customer):
    job = steps.open_job(acme)
    calls = [steps.ask(acme, job, str(index)) for index in range(5)]
    assert steps.fresh(job).open_calls == 5

    for submitted, state in zip(calls, TERMINAL, strict=False):
        end(submitted, Outcome(state, prompt_tokens=10, completion_tokens=5, latency_ms=40))

    job = steps.fresh(job)
    assert (job.total_calls, job.open_calls, job.successful_calls, job.failed_calls) == (5, 1, 1, 3)
    assert (job.prompt_tokens, job.completion_tokens, job.latency_total_ms) == (10, 5, 40)
    end(calls[4], FAILED)
    job = steps.fresh(job)
    assert (job.open_calls, job.open_bound_nanousd, job.open_bound_tokens) == (0, 0, 0)


def test_end_of_a_call_is_activity(acme: make.Customer):
    job = steps.open_job(acme)
    submitted = steps.ask(acme, job)
    steps.at(job, active_at=-1_000)

    end(submitted, FAILED)

    assert (clock.db_now() - steps.fresh(job).active_at).total_seconds() < 60


def test_impossible_states_are_refused_by_the_database(acme: make.Customer):
    submitted = steps.ask(acme, steps.open_job(acme))
    for change in (
        lambda: Call.objects.update(state="succeeded"),
        lambda: Call.objects.update(state="unheard of"),
        lambda: Call.objects.update(prompt_tokens=-1),
        lambda: Job.objects.update(status="completed"),
        lambda: Job.objects.update(charge_state="charged"),
        lambda: Job.objects.update(held_micros=-1),
        lambda: Job.objects.update(open_calls=-1),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            change()
    assert steps.call_of(submitted).state == "queued"


# --- Verdicts of a flat job ---------------------------------------------------------------------------------


def test_flat_job_without_a_call_costs_nothing(acme: make.Customer):
    job = steps.complete(acme, steps.open_job(acme))

    assert (job.status, job.charge_state, job.charged_micros) == ("completed", "free", 0)
    assert steps.money(acme) == (100, 0)


def test_flat_job_without_a_success_costs_nothing(acme: make.Customer):
    job = steps.open_job(acme)
    end(steps.ask(acme, job), FAILED)

    job = steps.complete(acme, job)

    assert (job.status, job.charge_state, job.held_micros) == ("completed", "free", 0)
    assert (steps.money(acme), Hold.objects.get().state) == ((100, 0), "released")


def test_flat_job_with_a_failure_beside_a_success_pays(acme: make.Customer):
    job = steps.open_job(acme)
    end(steps.ask(acme, job, "one"), FAILED)
    end(steps.ask(acme, job, "two"))

    job = steps.complete(acme, job)

    assert (job.charge_state, job.charged_micros, charges()) == ("charged", MICROS, [MICROS])


def test_failed_verdict_costs_nothing_even_with_a_success(acme: make.Customer):
    job = steps.open_job(acme)
    end(steps.ask(acme, job))

    job = steps.complete(acme, job, "failed", error_message="the caller's own")

    assert (job.status, job.charge_state, job.error_message) == ("failed", "free", "the caller's own")
    assert steps.money(acme) == (100, 0)


def test_flat_job_completed_before_its_first_answer_waits_for_it(acme: make.Customer):
    job = steps.open_job(acme)
    submitted = steps.ask(acme, job)

    job = steps.complete(acme, job)

    assert (job.status, job.charge_state, job.completed_at is not None) == ("completed", "pending", True)
    assert (steps.money(acme), charges()) == ((100, 1), [])
    end(submitted)
    assert (steps.fresh(job).charge_state, steps.money(acme), charges()) == ("charged", (99, 0), [MICROS])


def test_flat_job_whose_awaited_answer_fails_is_free(acme: make.Customer):
    job = steps.open_job(acme)
    submitted = steps.ask(acme, job)
    steps.complete(acme, job)

    end(submitted, FAILED)

    assert (steps.fresh(job).charge_state, steps.money(acme)) == ("free", (100, 0))
    assert steps.fresh(job).status == "completed"


def test_flat_job_waits_for_the_first_success_not_for_the_last_call(acme: make.Customer):
    job = steps.open_job(acme)
    calls = [steps.ask(acme, job, str(index)) for index in range(3)]
    steps.complete(acme, job)

    end(calls[0], FAILED)
    assert steps.fresh(job).charge_state == "pending"
    end(calls[1])
    assert (steps.fresh(job).charge_state, charges()) == ("charged", [MICROS])
    end(calls[2])
    assert (steps.fresh(job).successful_calls, charges()) == (2, [MICROS])


def test_flat_job_with_a_success_pays_at_once_and_its_open_calls_cost_no_more(acme: make.Customer):
    job = steps.open_job(acme)
    end(steps.ask(acme, job, "one"))
    late = steps.ask(acme, job, "two")

    job = steps.complete(acme, job)
    assert (job.charge_state, job.open_calls, steps.money(acme)) == ("charged", 1, (99, 0))
    end(late)

    job = steps.fresh(job)
    assert (job.open_calls, job.successful_calls, charges()) == (0, 2, [MICROS])


def test_failed_verdict_with_open_calls_releases_at_once(acme: make.Customer):
    job = steps.open_job(acme)
    submitted = steps.ask(acme, job)

    job = steps.complete(acme, job, "failed")
    assert (job.charge_state, steps.money(acme)) == ("free", (100, 0))
    end(submitted)

    job = steps.fresh(job)
    assert (job.status, job.charge_state, job.open_calls, charges()) == ("failed", "free", 0, [])


def test_job_that_costs_nothing_is_charged_nothing(acme: make.Customer, settings: Any):
    settings.DEFAULT_CREDITS_PER_JOB = 0
    job = steps.open_job(acme)
    end(steps.ask(acme, job))

    job = steps.complete(acme, job)

    assert (job.charge_state, job.credit_applied, charges()) == ("charged", False, [])
    assert steps.money(acme) == (100, 0)


# --- Repeats ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["completed", "failed"])
@pytest.mark.parametrize("second", ["completed", "failed"])
def test_first_verdict_stands(acme: make.Customer, first: str, second: str):
    job = steps.open_job(acme)
    end(steps.ask(acme, job))
    before = steps.complete(acme, job, first)

    for _ in range(3):
        after = steps.complete(acme, job, second, metadata={"late": True}, error_message="late")

    assert (after.status, after.charge_state) == (first, before.charge_state)
    assert (after.metadata, after.error_message, after.completed_at) == ({}, "", before.completed_at)
    assert charges() == ([MICROS] if first == "completed" else [])


def test_repeat_shows_the_charge_as_it_is_now(acme: make.Customer):
    job = steps.open_job(acme)
    submitted = steps.ask(acme, job)
    assert steps.complete(acme, job).charge_state == "pending"
    end(submitted)

    assert steps.complete(acme, job, "failed").charge_state == "charged"


def test_completion_merges_metadata_and_says_who_closed(acme: make.Customer):
    job = steps.open_job(acme, metadata={"a": 1})

    job = steps.complete(acme, job, metadata={"b": 2})

    job = steps.fresh(job)
    assert (job.metadata, job.closed_by) == ({"a": 1, "b": 2}, "test")


def test_metadata_is_merged_into_a_closed_job_too(acme: make.Customer):
    job = steps.complete(acme, steps.open_job(acme, metadata={"a": 1, "b": 1}))

    merged = services.merge_metadata(acme.team, job_id=str(job.pk), metadata={"b": 2})

    assert merged.metadata == steps.fresh(job).metadata == {"a": 1, "b": 2}
    assert steps.fresh(job).status == "completed"


# --- Jobs of one call ---------------------------------------------------------------------------------------


def test_one_call_job_fails_with_its_call(acme: make.Customer):
    submitted = steps.create_and_call(acme)

    end(submitted, FAILED)

    job = steps.job_of(submitted)
    assert (job.status, job.charge_state, job.closed_by) == ("failed", "free", "call")
    assert job.error_message == "LLM call failed: x"
    assert steps.money(acme) == (100, 0)


def test_verdict_of_its_caller_stands_when_the_call_of_a_one_call_job_ends(acme: make.Customer):
    submitted = steps.create_and_call(acme)
    steps.complete(acme, submitted.job_id, "failed", error_message="given up")

    end(submitted)

    job = steps.job_of(submitted)
    assert (job.status, job.error_message, job.charge_state, charges()) == ("failed", "given up", "free", [])


def test_one_call_job_completed_early_is_charged_when_its_call_succeeds(acme: make.Customer):
    submitted = steps.create_and_call(acme)
    assert steps.complete(acme, submitted.job_id).charge_state == "pending"

    end(submitted)

    assert (steps.job_of(submitted).charge_state, charges()) == ("charged", [MICROS])


def test_further_call_of_a_one_call_job_does_not_close_it(acme: make.Customer):
    submitted = steps.create_and_call(acme)
    further = steps.ask(acme, steps.job_of(submitted), "another")

    end(further)
    assert steps.job_of(submitted).status == "in_progress"
    end(submitted)

    assert (steps.job_of(submitted).status, charges()) == ("completed", [MICROS])


def test_metered_one_call_job_with_a_further_call_waits_for_it(metered: make.Customer):
    submitted = steps.create_and_call(metered)
    further = steps.ask(metered, steps.job_of(submitted), "another")

    end(submitted, served(10**9))
    assert (steps.job_of(submitted).status, steps.job_of(submitted).charge_state) == ("completed", "pending")
    end(further, served(2 * 10**9))

    assert (steps.job_of(submitted).charge_state, charges()) == ("charged", [30 * MICROS])


# --- Metered jobs -------------------------------------------------------------------------------------------


def test_metered_job_pays_for_what_was_served(metered: make.Customer):
    job = steps.open_job(metered)
    end(steps.ask(metered, job, "one"), served(10**9))
    end(steps.ask(metered, job, "two"), served(10**9))
    end(steps.ask(metered, job, "three"), FAILED)

    job = steps.complete(metered, job)

    assert (job.charge_state, job.charged_micros, charges()) == ("charged", 20 * MICROS, [20 * MICROS])
    assert steps.money(metered) == (980, 0)


def test_metered_job_with_open_calls_waits_for_the_last(metered: make.Customer):
    job = steps.open_job(metered)
    end(steps.ask(metered, job, "one"), served(10**9))
    open_calls = [steps.ask(metered, job, text) for text in ("two", "three")]
    job = steps.complete(metered, job)
    assert (job.charge_state, charges()) == ("pending", [])
    assert job.held_micros > 0

    end(open_calls[0], served(10**9))
    assert (steps.fresh(job).charge_state, charges()) == ("pending", [])
    end(open_calls[1], FAILED)

    assert (steps.fresh(job).charge_state, charges()) == ("charged", [20 * MICROS])
    assert steps.money(metered) == (980, 0)


def test_metered_job_without_a_success_is_free_after_its_last_call(metered: make.Customer):
    job = steps.open_job(metered)
    submitted = steps.ask(metered, job)
    assert steps.complete(metered, job).charge_state == "pending"

    end(submitted, FAILED)

    assert (steps.fresh(job).charge_state, steps.money(metered)) == ("free", (1_000, 0))


def test_failed_verdict_of_a_metered_job_with_open_calls_releases_at_once(metered: make.Customer):
    job = steps.open_job(metered)
    end(steps.ask(metered, job, "one"), served(10**9))
    late = steps.ask(metered, job, "two")

    job = steps.complete(metered, job, "failed")
    assert (job.charge_state, steps.money(metered)) == ("free", (1_000, 0))
    end(late, served(10**9))

    assert (steps.fresh(job).charge_state, charges()) == ("free", [])


def test_slack_beyond_a_quarter_is_given_back(metered: make.Customer):
    job = steps.open_job(metered)
    submitted = steps.ask(metered, job)
    assert steps.fresh(job).held_micros >= 20 * MICROS

    end(submitted, served(10**8))

    assert steps.fresh(job).held_micros == 1 * MICROS
    assert steps.money(metered) == (1_000, 1)


def test_little_slack_is_kept_for_the_next_call(metered: make.Customer):
    job = steps.open_job(metered)
    submitted = steps.ask(metered, job)
    held = steps.fresh(job).held_micros
    nearly_all = (held - 2 * MICROS) * 100

    end(submitted, served(nearly_all))

    assert steps.fresh(job).held_micros == held


def test_long_chat_does_not_hold_the_sum_of_its_maxima(metered: make.Customer):
    job = steps.open_job(metered)
    for index in range(5):
        end(steps.ask(metered, job, str(index)), served(10**8))

    assert steps.money(metered) == (1_000, 5)
    assert steps.complete(metered, job).charged_micros == 5 * MICROS


def test_cost_above_the_hold_is_taken_from_what_is_there(metered: make.Customer):
    job = steps.open_job(metered)
    end(steps.ask(metered, job), served(50 * 10**9))

    job = steps.complete(metered, job)

    assert (job.charged_micros, job.uncollected_micros) == (500 * MICROS, 0)
    assert steps.money(metered) == (500, 0)


def test_cost_that_is_not_there_stays_uncollected(metered: make.Customer):
    job = steps.open_job(metered)
    end(steps.ask(metered, job), served(150 * 10**9))

    job = steps.complete(metered, job)

    assert (job.charge_state, job.charged_micros, job.uncollected_micros) == ("charged", 1_000 * MICROS, 500 * MICROS)
    assert steps.money(metered) == (0, 0)


def test_cost_above_the_hold_does_not_touch_what_others_hold(metered: make.Customer):
    other = steps.open_job(metered)
    steps.ask(metered, other)
    held = steps.fresh(other).held_micros
    job = steps.open_job(metered)
    end(steps.ask(metered, job, "two"), served(150 * 10**9))

    job = steps.complete(metered, job)

    assert job.charged_micros == 1_000 * MICROS - held
    assert steps.balance(metered).spendable_micros == 0
    assert steps.balance(metered).held_micros == held


def test_terms_of_the_first_call_price_the_job(metered: make.Customer):
    from decimal import Decimal

    from apps.credits import billing

    job = steps.open_job(metered)
    submitted = steps.ask(metered, job)
    billing.change_plan(metered.team, actor=make.TESTER, credits_per_dollar=Decimal(1_000))
    end(submitted, served(10**9))

    assert steps.complete(metered, job).charged_micros == 10 * MICROS


def test_tokens_price_a_job_metered_in_tokens(db: None):
    make.platform_model()
    customer = make.customer(credits=100, budget_mode="consumption_tokens", tokens_per_credit=1_000)
    job = steps.open_job(customer)
    end(steps.ask(customer, job, parameters={"max_tokens": 9_000}), served(tokens=4_999))

    assert steps.complete(customer, job).charged_micros == 4 * MICROS


# --- Lost cost ----------------------------------------------------------------------------------------------


def test_lost_cost_is_counted_apart_from_what_the_customer_pays(metered: make.Customer):
    job = steps.open_job(metered)
    submitted = steps.ask(metered, job)
    execution.claim(str(submitted.call_id))
    outcome = Outcome(Call.State.FAILED, lost_cost_nanousd=7 * 10**9, error_status=503)
    lifecycle.end_call(submitted.job_id, submitted.call_id, outcome, claim=1)

    job = steps.complete(metered, job)

    assert (job.lost_cost_nanousd, job.provider_cost_nanousd, job.charge_state) == (7 * 10**9, 0, "free")
    assert Attempt.objects.get().cost_nanousd == 7 * 10**9
