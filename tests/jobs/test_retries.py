"""A client's own retry that comes while its first try is being admitted waits for that, and is given its call."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from apps.jobs import retries, services, statements
from apps.jobs.models import Call, Job
from tests import make
from tests.jobs import steps

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

WANTED = retries.fingerprint(b"the same words")


def reached(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(5_000):
        if condition():
            return
        pause.wait(0.002)
    raise AssertionError("not reached")


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(cursor.fetchone()[0])


def in_thread(pool: ThreadPoolExecutor, what: Callable[[], Any]) -> "Future[Any]":
    def run() -> Any:
        try:
            return what()
        finally:
            connection.close()

    return pool.submit(run)


def retried(customer: make.Customer, job: Job | None) -> services.Submitted | None:
    job_id = str(job.pk) if job else ""
    return retries.attach(customer.team, WANTED, job_id=job_id, wait_s=1, reply_to="web-2")


def submitted(customer: make.Customer, job: Job | None) -> services.Submitted:
    if job is not None:
        return steps.ask(customer, job, fingerprint=WANTED)
    return steps.create_and_call(customer, fingerprint=WANTED)


@pytest.mark.parametrize("names_a_job", [False, True], ids=["own job", "named job"])
def test_retry_waits_for_the_first_try_s_admission(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch, names_a_job: bool
):
    job = steps.open_job(acme) if names_a_job else None
    is_written, may_commit = threading.Event(), threading.Event()
    admit = statements.admit

    def slowly(*args: Any, **instants: Any) -> None:
        admit(*args, **instants)
        is_written.set()
        assert may_commit.wait(20)

    for place in (statements, statements.admission):
        monkeypatch.setattr(place, "admit", slowly)
    with ThreadPoolExecutor(2) as pool:
        first = in_thread(pool, lambda: submitted(acme, job))
        assert is_written.wait(20)
        retry = in_thread(pool, lambda: retried(acme, job))
        try:
            reached(waits_for_a_lock)
        finally:
            may_commit.set()
        assert retry.result(20) == services.Submitted(first.result().job_id, first.result().call_id, is_new=False)

    assert Call.objects.get().reply_to == "web-2"


def test_first_tries_of_the_same_words_do_not_wait_for_each_other(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    both_are_in = threading.Barrier(2)
    insert_job = statements.insert_job

    def together(job: Job) -> None:
        # Each has its lock by now; the wallet's comes later.
        both_are_in.wait(20)
        insert_job(job)

    monkeypatch.setattr(statements, "insert_job", together)
    with ThreadPoolExecutor(2) as pool:
        tries = [in_thread(pool, lambda: submitted(acme, None)) for _ in range(2)]
        assert len({each.result(30).call_id for each in tries}) == 2


def test_retry_waits_for_no_other_request(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    is_written, may_commit = threading.Event(), threading.Event()
    admit = statements.admit

    def slowly(*args: Any, **instants: Any) -> None:
        admit(*args, **instants)
        is_written.set()
        assert may_commit.wait(20)

    for place in (statements, statements.admission):
        monkeypatch.setattr(place, "admit", slowly)
    with ThreadPoolExecutor(2) as pool:
        other = in_thread(pool, lambda: steps.create_and_call(acme, fingerprint=retries.fingerprint(b"others")))
        assert is_written.wait(20)
        try:
            assert in_thread(pool, lambda: retried(acme, None)).result(20) is None
        finally:
            may_commit.set()
        other.result(20)
