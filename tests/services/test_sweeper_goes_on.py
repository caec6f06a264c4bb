"""The sweeper does what it can: a row that cannot be changed, or not now, stops nothing and is not forgotten."""

import threading

import pytest
from django.db import close_old_connections, transaction

from apps.core import clock
from apps.core.models import Process
from apps.jobs import services, sweeper
from apps.jobs.models import Call, Job
from tests import make

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


def submit(customer: make.Customer, *, reply_to: str = "") -> services.Submitted:
    job, _ = services.open_job(customer.principal, services.NewJob("query"))
    request = services.CallRequest(
        body={"messages": [{"role": "user", "content": "Is anybody there?"}]}, fingerprint=str(job.pk)
    )
    return services.submit_call(customer.principal, request, job_id=str(job.pk), wait_s=28, reply_to=reply_to)


def test_damaged_job_does_not_stop_the_sweeping_of_others(acme: make.Customer) -> None:
    damaged, sound = submit(acme), submit(acme)
    Call.objects.update(deadline_at=clock.from_now(-60))
    # Its end would count its open calls below zero, which the database refuses.
    Job.objects.filter(pk=damaged.job_id).update(open_calls=0)

    sweeper.run()

    assert Call.objects.get(pk=sound.call_id).state == Call.State.FAILED
    assert Call.objects.get(pk=damaged.call_id).state == Call.State.QUEUED


def test_caller_of_a_dead_process_whose_call_is_just_settled_is_marked_by_the_next_sweep(
    acme: make.Customer,
) -> None:
    Process.objects.create(name="web-that-died", kind="web")
    Process.objects.create(name=sweeper.NAME, kind="sweeper")
    call_id = submit(acme, reply_to="web-that-died").call_id
    Process.objects.filter(kind="web").update(seen_at=clock.from_now(-sweeper.DEAD_AFTER_S - 1))
    Process.objects.filter(kind="sweeper").update(started_at=clock.from_now(-60))

    def sweep() -> None:
        sweeper.run()
        close_old_connections()

    with transaction.atomic():
        Call.objects.select_for_update().get(pk=call_id)
        meanwhile = threading.Thread(target=sweep)
        meanwhile.start()
        meanwhile.join()
    assert Call.objects.get(pk=call_id).unanswered_at is None
    sweeper.run()

    assert Call.objects.get(pk=call_id).unanswered_at is not None
    assert not Process.objects.filter(name="web-that-died").exists()
