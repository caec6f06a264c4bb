"""A call that is taken over and its late end: both lock the job first, then the call and its attempts."""

import threading

import pytest
from django.db import close_old_connections, transaction

from apps.jobs import execution, lifecycle, services
from apps.jobs.models import Attempt, Call
from tests import make

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


def test_taking_a_call_over_does_not_deadlock_with_its_late_end(acme: make.Customer) -> None:
    make.alias("priced", input_usd_per_mtok=1, output_usd_per_mtok=1, is_open=True)
    job, _ = services.open_job(acme.principal, services.NewJob("query"))
    request = services.CallRequest(
        body={"messages": [{"role": "user", "content": "Who is first?"}]}, fingerprint="", model="priced"
    )
    call_id = services.submit_call(acme.principal, request, job_id=str(job.pk), wait_s=28, reply_to="").call_id
    assert execution.claim(str(call_id)) is not None
    # As the sweeper leaves it once the lease has expired.
    Call.objects.filter(pk=call_id).update(state=Call.State.QUEUED, lease_until=None)
    claimed: list[execution.Claimed | None] = []

    def take_over() -> None:
        claimed.append(execution.claim(str(call_id)))
        close_old_connections()

    thread = threading.Thread(target=take_over)
    with transaction.atomic():
        lifecycle.lock_job(job.pk)
        thread.start()
        # It waits for the job's lock now; had it taken another row's first, that would be asked for here in vain.
        thread.join(timeout=0.5)
        Call.objects.filter(pk=call_id).update(purpose="changed by the one who has the job")
        Attempt.objects.filter(call_id=call_id).update(worker="changed by the one who has the job")
    thread.join(timeout=10)

    assert [found.call.claim for found in claimed if found] == [2]
