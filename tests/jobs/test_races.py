"""What threads do to each other on PostgreSQL: one of them does it, none waits for ever."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.commands import flush
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from apps.core import clock
from apps.core.errors import DomainError
from apps.core.idempotency import Request
from apps.credits.errors import InsufficientCredits
from apps.credits.models import Entry, Hold
from apps.jobs import execution, lifecycle, services, sweeper
from apps.jobs.lifecycle import Outcome
from apps.jobs.models import Attempt, Call, Job
from tests import make
from tests.jobs import steps

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

THREADS = 8
SERVED = Outcome(Call.State.SUCCEEDED, prompt_tokens=10, completion_tokens=5)


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
def acme(transactional_db: None) -> make.Customer:
    return make.customer(credits=100)


def charges(customer: make.Customer) -> int:
    return Entry.objects.filter(kind=Entry.Kind.CHARGE, debit_account__team=customer.team).count()


def at_once(*doings: Callable[[], Any]) -> list[Any]:
    """Each in a thread of its own, all let go together. Results in order; a DomainError is a result."""
    barrier = threading.Barrier(len(doings))

    def do(doing: Callable[[], Any]) -> Any:
        try:
            with connection.cursor() as cursor:
                # Who waits longer waits for ever, and so would the test.
                cursor.execute("SET lock_timeout = '10s'")
            barrier.wait(timeout=10)
            return doing()
        except DomainError as error:
            return error
        finally:
            with connection.cursor() as cursor:
                cursor.execute("RESET lock_timeout")
            connection.close()

    with ThreadPoolExecutor(len(doings)) as pool:
        return [future.result(timeout=30) for future in [pool.submit(do, doing) for doing in doings]]


@pytest.fixture
def waits_for_a_lock() -> Iterator[Callable[[Callable[[], Any]], threading.Thread]]:
    """Starts something in a thread and returns once it waits for a lock."""
    threads: list[threading.Thread] = []

    def start(doing: Callable[[], Any]) -> threading.Thread:
        pids: list[int] = []

        def do() -> None:
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_backend_pid()")
                    pids.append(cursor.fetchone()[0])
                doing()
            finally:
                connection.close()

        thread = threading.Thread(target=do, daemon=True)
        thread.start()
        threads.append(thread)
        ends_at = time.monotonic() + 10
        while time.monotonic() < ends_at:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND pid = ANY(%s)", [pids])
                if cursor.fetchone():
                    return thread
            time.sleep(0.005)
        raise TimeoutError("nothing waited for a lock")

    yield start
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_parallel_starts_admit_as_many_as_there_are_credits():
    poor = make.customer(credits=3)
    principal, jobs = poor.principal, [steps.open_job(poor) for _ in range(THREADS)]

    def start(job: Job) -> Any:
        return services.submit_call(
            principal, steps.request_for(str(job.pk)), job_id=str(job.pk), wait_s=1, reply_to=""
        )

    results = at_once(*(lambda job=job: start(job) for job in jobs))

    admitted = [result for result in results if isinstance(result, services.Submitted)]
    assert len(admitted) == 3
    assert all(isinstance(each, InsufficientCredits) for each in results if each not in admitted)
    assert steps.money(poor) == (3, 3)


def test_parallel_calls_into_one_job_share_its_hold(acme: make.Customer):
    job, principal = steps.open_job(acme), acme.principal

    def start(text: str) -> Any:
        return services.submit_call(principal, steps.request_for(text), job_id=str(job.pk), wait_s=1, reply_to="")

    at_once(*(lambda text=str(index): start(text) for index in range(THREADS)))

    assert (steps.fresh(job).open_calls, steps.fresh(job).total_calls) == (THREADS, THREADS)
    assert steps.money(acme) == (100, 1)


def test_parallel_completions_charge_once(acme: make.Customer):
    job = steps.open_job(acme)
    steps.run(steps.ask(acme, job))

    closed = at_once(*(lambda: steps.complete(acme, job),) * THREADS)

    assert {each.charge_state for each in closed} == {"charged"}
    assert (charges(acme), steps.money(acme)) == (1, (99, 0))


def test_parallel_deliveries_are_made_once(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    route = steps.take_route(monkeypatch, lambda _: steps.answer())
    submitted = steps.ask(acme, steps.open_job(acme))

    results = at_once(*(lambda: steps.run(submitted),) * THREADS)

    assert sorted(results) == [False] * (THREADS - 1) + [True]
    assert (len(route.requests), Attempt.objects.filter(call_id=submitted.call_id).count()) == (1, 1)


def test_parallel_repeats_share_one_unanswered_call(acme: make.Customer):
    principal, job = acme.principal, steps.open_job(acme)

    def repeat() -> services.Submitted:
        return services.submit_call(principal, steps.request_for(), job_id=str(job.pk), wait_s=1, reply_to="")

    first = repeat()
    services.mark_unanswered(first.call_id)

    results = at_once(*(repeat,) * THREADS)

    assert [result.call_id for result in results].count(first.call_id) == 1
    assert len({result.call_id for result in results}) == THREADS


@pytest.mark.parametrize("kind", ["call into a job", "job of one call"])
def test_parallel_twins_of_a_key_make_one_call(acme: make.Customer, kind: str):
    principal, job, key = acme.principal, steps.open_job(acme), Request(f"team:{acme.team.team_id}", "key", "f")

    def submit() -> services.Submitted:
        asked = steps.request_for()
        if kind == "job of one call":
            new = services.NewJob("query")
            return services.submit_one_call_job(principal, new, asked, wait_s=1, reply_to="", idempotent=key)
        return services.submit_call(principal, asked, job_id=str(job.pk), wait_s=1, reply_to="", idempotent=key)

    results = at_once(*(submit,) * THREADS)

    assert len({str(result.call_id) for result in results}) == 1
    assert [result.is_new for result in results].count(True) == 1
    assert Call.objects.for_team(acme.team).count() == Hold.objects.filter(account__team=acme.team).count() == 1


@pytest.mark.parametrize("round_", range(3))
def test_completion_and_the_last_answer_cross_without_a_free_ride(acme: make.Customer, round_: int):
    del round_
    job = steps.open_job(acme)
    submitted = steps.ask(acme, job)
    execution.claim(str(submitted.call_id))

    _, ended = at_once(
        lambda: steps.complete(acme, job),
        lambda: lifecycle.end_call(job.pk, submitted.call_id, SERVED, claim=1),
    )

    assert ended is True
    assert (steps.fresh(job).status, steps.fresh(job).charge_state) == ("completed", "charged")
    assert steps.money(acme) == (99, 0)


def test_submitting_and_completing_cross_without_a_stuck_hold(acme: make.Customer):
    job, principal = steps.open_job(acme), acme.principal

    def start() -> Any:
        return services.submit_call(principal, steps.request_for(), job_id=str(job.pk), wait_s=1, reply_to="")

    submitted, _ = at_once(start, lambda: steps.complete(acme, job))

    job = steps.fresh(job)
    assert job.status == "completed"
    if isinstance(submitted, services.Submitted):
        assert job.charge_state == "pending"
        steps.run(submitted)
        assert steps.money(acme) == (99, 0)
    else:
        assert (job.charge_state, steps.money(acme)) == ("free", (100, 0))


def test_call_ends_once_whoever_ends_it(acme: make.Customer):
    job = steps.open_job(acme)
    submitted = steps.ask(acme, job)
    execution.claim(str(submitted.call_id))

    results = at_once(
        *(lambda: lifecycle.end_call(job.pk, submitted.call_id, SERVED, claim=1),) * (THREADS // 2),
        *(lambda: lifecycle.end_call(job.pk, submitted.call_id, Outcome(Call.State.EXPIRED), claim=1),)
        * (THREADS // 2),
    )

    assert results.count(True) == 1
    job = steps.fresh(job)
    assert (job.open_calls, job.successful_calls + job.failed_calls) == (0, 1)


def test_parallel_sweeps_take_each_call_over_once(acme: make.Customer):
    for index in range(10):
        submitted = steps.ask(acme, steps.open_job(acme), str(index))
        execution.claim(str(submitted.call_id))
        steps.at(steps.call_of(submitted), lease_until=-1)

    results = at_once(*(sweeper._take_over,) * 4)

    assert sum(taken for taken, _ in results) == 10
    assert Call.objects.for_team(acme.team).filter(state="queued").count() == 10


def test_sweeper_passes_by_calls_that_somebody_works_on(acme: make.Customer):
    submitted = steps.ask(acme, steps.open_job(acme))
    steps.at(steps.call_of(submitted), next_publish_at=-1)
    with transaction.atomic():
        Call.objects.select_for_update().get(pk=submitted.call_id)

        started = time.monotonic()
        assert at_once(sweeper._publish_due) == [0]
        assert time.monotonic() - started < 5

    assert steps.call_of(submitted).publishes == 0


@pytest.mark.parametrize("close", [sweeper._close_abandoned_jobs, sweeper._close_jobs_past_deadline])
def test_job_at_work_just_now_is_passed_over_by_who_closes_jobs(
    acme: make.Customer, close: Callable[[], int], settings: Any
):
    settings.JOB_ABANDONED_AFTER_H = 24
    job = steps.open_job(acme)
    steps.at(job, active_at=-25 * 3_600, deadline_at=-1)
    with transaction.atomic():
        lifecycle.lock_job(job.pk)
        # It waits for nobody: else it would not come back.
        assert at_once(close) == [0]
        Job.objects.filter(pk=job.pk).update(active_at=clock.db_now(), deadline_at=clock.from_now(60))

    assert (close(), steps.fresh(job).status) == (0, "pending")


def test_claim_after_a_takeover_locks_the_job_before_call_and_attempt(
    acme: make.Customer, waits_for_a_lock: Callable[[Callable[[], Any]], threading.Thread]
):
    """As settlement does: the other way round, a late settlement and a new claim would wait for each other."""
    make.alias("priced-for-locks", input_usd_per_mtok=1, output_usd_per_mtok=2, is_open=True)
    submitted = steps.ask(acme, steps.open_job(acme), model="priced-for-locks")
    execution.claim(str(submitted.call_id))
    steps.at(steps.call_of(submitted), lease_until=-1)
    sweeper._take_over()
    with transaction.atomic():
        lifecycle.lock_job(submitted.job_id)
        waits_for_a_lock(lambda: execution.claim(str(submitted.call_id)))

        # Not locked by the claim that waits for the job.
        Call.objects.select_for_update(nowait=True).get(pk=submitted.call_id)
        Attempt.objects.select_for_update(nowait=True).get(call_id=submitted.call_id)

    _until(lambda: steps.call_of(submitted).claim == 2)
    assert steps.call_of(submitted).state == "running"


def test_late_settlement_beats_the_claim_that_waits_for_it(
    acme: make.Customer, waits_for_a_lock: Callable[[Callable[[], Any]], threading.Thread]
):
    submitted, claims = steps.ask(acme, steps.open_job(acme)), []
    execution.claim(str(submitted.call_id))
    steps.at(steps.call_of(submitted), lease_until=-1)
    sweeper._take_over()
    with transaction.atomic():
        assert lifecycle.end_call(submitted.job_id, submitted.call_id, SERVED, claim=1)
        waits_for_a_lock(lambda: claims.append(execution.claim(str(submitted.call_id))))

    _until(lambda: claims)
    assert claims == [None]
    assert steps.call_of(submitted).state == "succeeded"
    assert Attempt.objects.filter(call_id=submitted.call_id).count() == 1


def _until(reached: Callable[[], Any]) -> None:
    ends_at = time.monotonic() + 10
    while not reached() and time.monotonic() < ends_at:
        time.sleep(0.005)
