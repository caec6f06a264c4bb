"""One job through its life, by the functions alone: the worker's side is called as a function."""

import pytest

from apps.credits import billing
from apps.jobs import execution, services
from apps.jobs.models import Attempt, Call, Job
from tests import make


@pytest.fixture(autouse=True)
def _embedded(settings):
    settings.EMBEDDED = True


def ask(customer: make.Customer, job: Job, text: str = "What is Python?", **more) -> services.Submitted:
    body = {"messages": [{"role": "user", "content": text}]}
    request = services.CallRequest(body=body, fingerprint=f"{job.pk}:{text}", **more)
    return services.submit_call(customer.principal, request, job_id=str(job.pk), wait_s=28, reply_to="")


def test_job_with_two_calls_is_charged_once(acme):
    job, _ = services.open_job(acme.principal, services.NewJob("query"))
    for text in ("What is Python?", "What is Flask?"):
        assert execution.run_call(str(ask(acme, job, text).call_id))

    job, _ = services.complete_job(acme.team, job_id=str(job.pk), verdict="completed", closed_by="test")

    assert job.charge_state == Job.ChargeState.CHARGED
    assert (job.total_calls, job.successful_calls, job.open_calls) == (2, 2, 0)
    balance = billing.balance(acme.team)
    assert (balance.posted_micros, balance.held_micros, balance.used_micros) == (99_000_000, 0, 1_000_000)


def test_every_try_has_an_attempt_row(acme):
    job, _ = services.open_job(acme.principal, services.NewJob("query"))
    submitted = ask(acme, job)
    execution.run_call(str(submitted.call_id))

    attempt = Attempt.objects.get(call_id=submitted.call_id)

    assert (attempt.state, attempt.claim) == ("succeeded", 1)
    assert Call.objects.get(pk=submitted.call_id).state == Call.State.SUCCEEDED


def test_second_delivery_of_a_message_does_nothing(acme):
    job, _ = services.open_job(acme.principal, services.NewJob("query"))
    submitted = ask(acme, job)

    assert execution.run_call(str(submitted.call_id)) is True
    assert execution.run_call(str(submitted.call_id)) is False
    assert Attempt.objects.count() == 1
