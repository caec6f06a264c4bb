"""Cancelling a job: what becomes of its calls and of its money."""

from typing import Any

import pytest

from apps.jobs import cancelling, execution, lifecycle, replies, services
from apps.jobs.errors import JobClosed, JobNotFound
from apps.jobs.escrow import Budget
from apps.jobs.lifecycle import Outcome
from apps.jobs.models import Call, Job
from tests import make
from tests.jobs import steps


def cancel(customer: make.Customer, job: Job | Any, **more: Any) -> Job:
    job_id = str(getattr(job, "pk", job))
    return cancelling.cancel_job(customer.team, job_id=job_id, closed_by="test", **more)[0]


def test_job_without_a_call_is_cancelled(acme: make.Customer):
    job = cancel(acme, steps.open_job(acme), reason="changed our mind")

    assert (job.status, job.charge_state, job.closed_by, job.error_message) == (
        "cancelled",
        "free",
        "test",
        "changed our mind",
    )


def test_queued_calls_are_ended_at_once_and_their_callers_told(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    told: list[Any] = []
    monkeypatch.setattr(replies, "send_many", told.extend)
    job = steps.open_job(acme)
    queued = [steps.ask(acme, job, text, reply_to="web") for text in "ab"]

    found = cancel(acme, job)

    assert (found.open_calls, found.failed_calls, found.held_micros) == (0, 2, 0)
    calls = [steps.call_of(each) for each in queued]
    assert {(call.state, call.error_code, call.error_status) for call in calls} == {
        ("cancelled", "call_cancelled", 400)
    }
    assert sorted(told) == sorted(("web", call.pk) for call in calls)
    assert steps.money(acme) == (100, 0)
    assert not any(steps.run(each) for each in queued)


def test_running_call_finishes_and_costs_the_customer_nothing(acme: make.Customer):
    job = steps.open_job(acme)
    running = steps.ask(acme, job)
    claimed = execution.claim(str(running.call_id))
    assert claimed is not None

    found = cancel(acme, job)
    assert (found.status, found.open_calls) == ("cancelled", 1)
    assert steps.call_of(running).cancel_requested_at is None
    assert lifecycle.end_call(job.pk, running.call_id, Outcome(Call.State.SUCCEEDED), claim=claimed.call.claim)

    assert steps.fresh(job).open_calls == 0
    assert steps.money(acme) == (100, 0)


def test_running_stream_is_asked_to_stop(acme: make.Customer):
    job = steps.open_job(acme)
    submitted = steps.ask(acme, job, is_streamed=True)
    execution.claim(str(submitted.call_id))

    cancel(acme, job)

    asked_at = steps.call_of(submitted).cancel_requested_at
    assert asked_at is not None
    cancel(acme, job)
    assert steps.call_of(submitted).cancel_requested_at == asked_at


def test_call_of_a_one_call_job_is_cancelled_with_it(acme: make.Customer):
    submitted = steps.create_and_call(acme)

    assert cancel(acme, submitted.job_id).status == "cancelled"
    assert steps.call_of(submitted).state == "cancelled"
    assert steps.money(acme) == (100, 0)


def test_cancelled_job_takes_no_calls(acme: make.Customer):
    job = cancel(acme, steps.open_job(acme))

    with pytest.raises(JobClosed):
        steps.ask(acme, job)


def test_first_verdict_stands_either_way(acme: make.Customer):
    one, two = steps.open_job(acme), steps.open_job(acme)
    steps.run(steps.ask(acme, one))

    steps.complete(acme, one)
    cancel(acme, two)

    assert cancel(acme, one).status == "completed"
    assert steps.complete(acme, two).status == "cancelled"
    assert steps.money(acme) == (99, 0)


def test_cancel_while_a_charge_waits_changes_nothing(acme: make.Customer):
    job = steps.open_job(acme)
    submitted = steps.ask(acme, job)
    steps.complete(acme, job)

    assert cancel(acme, job).charge_state == "pending"
    assert steps.run(submitted)
    assert steps.money(acme) == (99, 0)


@pytest.mark.parametrize("job_id", ["no-id", "00000000-0000-0000-0000-000000000000"])
def test_unknown_job_is_not_found(acme: make.Customer, job_id: str):
    with pytest.raises(JobNotFound):
        cancel(acme, job_id)


def test_reservation_is_given_back(acme: make.Customer):
    job = steps.open_job(acme, budget=Budget(max_micros=50_000_000, reserves=True))
    assert steps.money(acme) == (100, 50)

    cancel(acme, job)

    assert steps.money(acme) == (100, 0)
    assert services.find_job(acme.team, str(job.pk)).status == "cancelled"
