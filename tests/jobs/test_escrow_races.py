"""What parallel calls, raises and ends do to a job's budget on PostgreSQL: the ceiling holds, no pause is lost."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.commands import flush
from django.db import transaction
from pytest_django import DjangoDbBlocker

from apps.core import verification
from apps.core.models import Event
from apps.credits.errors import InsufficientCredits
from apps.credits.models import Entry
from apps.jobs import budgets, cancelling, escrow, execution, lifecycle, services
from apps.jobs.budgets import Change
from apps.jobs.errors import CeilingTooLow, JobCapReached, JobClosed
from apps.jobs.escrow import Budget
from apps.jobs.lifecycle import Outcome
from apps.jobs.models import Call, Job
from tests import make
from tests.jobs import steps
from tests.jobs.test_races import at_once, waits_for_a_lock

__all__ = ["waits_for_a_lock"]

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

MICROS = 1_000_000
THREADS = 8


@pytest.fixture(scope="module", autouse=True)
def _emptied_once(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A flush after each test would take longer than all of them: each has a customer of its own instead."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(flush.Command, "handle", lambda *_, **__: None)
        yield
    with django_db_blocker.unblock():
        call_command("flush", interactive=False, verbosity=0)


@pytest.fixture(autouse=True)
def _model(transactional_db: None) -> None:
    make.platform_model()


@pytest.fixture
def tokens(transactional_db: None) -> make.Customer:
    """Metered by tokens, ten to a credit: a call of these tests may take 10 credits."""
    return make.customer(credits=1_000, budget_mode="consumption_tokens", tokens_per_credit=10)


def open_job(customer: make.Customer, max_credits: int, **budget: Any) -> Job:
    return steps.open_job(customer, budget=Budget(max_micros=max_credits * MICROS, **budget))


def asking(customer: make.Customer, job: Job, text: str) -> Callable[[], Any]:
    principal = customer.principal
    request = steps.request_for(text, parameters={"max_tokens": 60})
    return lambda: services.submit_call(principal, request, job_id=str(job.pk), wait_s=1, reply_to="")


def raising(customer: make.Customer, job: Job, max_credits: int) -> Callable[[], Any]:
    principal = customer.principal
    wanted = Change(frozenset(["max_micros"]), max_micros=max_credits * MICROS)
    return lambda: budgets.change(principal, job_id=str(job.pk), wanted=wanted)


def cancelling_of(customer: make.Customer, job: Job) -> Callable[[], Any]:
    return lambda: cancelling.cancel_job(customer.team, job_id=str(job.pk), closed_by="test")[0]


def events(job: Job, kind: str) -> int:
    return Event.objects.filter(kind=kind, subject=f"job:{job.pk}").count()


def test_parallel_calls_into_a_capped_job_admit_exactly_those_that_fit(tokens: make.Customer):
    job = open_job(tokens, 35)

    results = at_once(*(asking(tokens, job, f"{index}") for index in range(THREADS)))

    admitted = [result for result in results if isinstance(result, services.Submitted)]
    assert len(admitted) == 3
    assert all(isinstance(result, JobCapReached) for result in results if result not in admitted)
    job = steps.fresh(job)
    assert (job.open_calls, job.held_micros <= 35 * MICROS) == (3, True)
    assert steps.money(tokens)[1] * MICROS == job.held_micros


def test_parallel_calls_beyond_the_cap_pause_the_job_once(tokens: make.Customer):
    job = open_job(tokens, 15, on_cap="pause")

    results = at_once(*(asking(tokens, job, f"{index}") for index in range(THREADS)))

    assert sum(isinstance(result, services.Submitted) for result in results) <= 1
    assert (steps.fresh(job).status, events(job, "job.budget_paused")) == ("paused", 1)


@pytest.mark.parametrize("round_", range(5))
def test_raise_against_calls_leaves_no_job_paused_that_has_room(tokens: make.Customer, round_: int):
    """Whoever comes first: a call that met the old ceiling does not pause a job that was raised since."""
    job = open_job(tokens, 15, on_cap="pause")
    steps.run(steps.ask(tokens, job, "first", parameters={"max_tokens": 10}))

    results = at_once(
        *(asking(tokens, job, f"{index}") for index in range(4)), raising(tokens, job, 500), *[lambda: None] * 2
    )

    job = steps.fresh(job)
    assert job.max_micros == 500 * MICROS
    assert (job.status, job.paused_reason) == ("in_progress", "")
    assert events(job, "job.budget_paused") == events(job, "job.resumed")
    admitted = sum(isinstance(result, services.Submitted) for result in results)
    assert job.total_calls == 1 + admitted


def test_pause_that_waited_for_a_raise_judges_again(
    tokens: make.Customer, waits_for_a_lock: Callable[[Callable[[], Any]], Any], monkeypatch: pytest.MonkeyPatch
):
    job = open_job(tokens, 5, on_cap="pause")
    found: list[Any] = []
    pause, raise_it, ask = escrow.pause, raising(tokens, job, 500), asking(tokens, job, "a")

    def after_the_refusal(*arguments: Any) -> bool:
        raise_it()
        return pause(*arguments)

    monkeypatch.setattr(escrow, "pause", after_the_refusal)
    with transaction.atomic():
        lifecycle.lock_job(job.pk)
        waiting = waits_for_a_lock(lambda: found.append(ask()))
    waiting.join(timeout=10)

    assert [each.is_new for each in found] == [True]
    assert (steps.fresh(job).status, events(job, "job.budget_paused")) == ("in_progress", 0)


def test_ceiling_is_not_lowered_under_a_call_that_enters(tokens: make.Customer):
    job = open_job(tokens, 12)

    entered, lowered = at_once(asking(tokens, job, "a"), raising(tokens, job, 3))

    job = steps.fresh(job)
    if isinstance(entered, services.Submitted):
        assert isinstance(lowered, CeilingTooLow)
        assert job.max_micros == 12 * MICROS
    else:
        assert isinstance(entered, JobCapReached)
        assert job.max_micros == 3 * MICROS
    assert job.held_micros <= (job.max_micros or 0)


def test_reservations_and_other_jobs_share_a_wallet_without_overdrawing_it():
    poor = make.customer(credits=10)
    principal, flat = poor.principal, [steps.open_job(poor) for _ in range(4)]

    def reserve() -> Any:
        budget = Budget(max_micros=4 * MICROS, reserves=True)
        return services.open_job(principal, services.NewJob("query", budget=budget))[0]

    results = at_once(*[reserve] * 4, *(asking(poor, job, str(job.pk)) for job in flat))

    held = sum(4 if isinstance(each, Job) else 1 for each in results if not isinstance(each, InsufficientCredits))
    assert all(isinstance(each, Job | services.Submitted | InsufficientCredits) for each in results)
    assert steps.money(poor) == (10, held)
    assert held in range(7, 11)
    assert Job.objects.filter(team=poor.team, reserves_ceiling=True).count() == sum(
        isinstance(each, Job) for each in results
    )


@pytest.mark.parametrize("round_", range(5))
def test_cancel_against_complete_has_one_verdict_and_one_charge_at_most(round_: int):
    acme = make.customer(credits=100)
    job = steps.open_job(acme)
    steps.run(steps.ask(acme, job))

    results = at_once(
        *[cancelling_of(acme, job)] * 2, *[lambda: steps.complete(acme, job)] * 2, cancelling_of(acme, job)
    )

    verdicts = {each.status for each in results}
    assert len(verdicts) == 1
    charges = Entry.objects.filter(kind=Entry.Kind.CHARGE, debit_account__team=acme.team).count()
    assert (steps.fresh(job).status, charges) in (("completed", 1), ("cancelled", 0))
    assert steps.money(acme) == (100 - charges, 0)


@pytest.mark.parametrize("round_", range(5))
def test_cancel_against_a_settling_call_counts_it_once(tokens: make.Customer, round_: int):
    job = open_job(tokens, 500)
    running, queued = (asking(tokens, job, text)() for text in ("running", "queued"))
    claimed = execution.claim(str(running.call_id))
    assert claimed is not None
    outcome = Outcome(Call.State.SUCCEEDED, prompt_tokens=10, completion_tokens=5)

    found, ended, taken = at_once(
        cancelling_of(tokens, job),
        lambda: lifecycle.end_call(job.pk, running.call_id, outcome, claim=1, claimed=claimed.call),
        lambda: execution.claim(str(queued.call_id)),
    )

    assert (found.status, ended) == ("cancelled", True)
    if taken is not None:
        # A worker was quicker: it finishes what it began.
        assert lifecycle.end_call(job.pk, queued.call_id, outcome, claim=1, claimed=taken.call)
    job = steps.fresh(job)
    assert (job.open_calls, job.successful_calls + job.failed_calls, job.held_micros) == (0, 2, 0)
    assert steps.money(tokens) == (1_000, 0)
    with pytest.raises(JobClosed):
        asking(tokens, job, "late")()
    assert list(verification.differences()) == []
