"""Whole jobs from their first request to their charge, by the functions that web and worker call."""

import pytest

from apps.credits.models import Entry
from apps.jobs import execution, services, sweeper
from apps.jobs.gateway.interface import GatewayError
from apps.jobs.models import Attempt, Job
from tests import make
from tests.jobs import steps


def test_job_with_two_calls_is_charged_once(acme: make.Customer):
    job = steps.open_job(acme)
    for text in ("What is Python?", "What is Flask?"):
        assert steps.run(steps.ask(acme, job, text))

    job = steps.complete(acme, job)

    assert job.charge_state == Job.ChargeState.CHARGED
    assert (job.total_calls, job.successful_calls, job.open_calls) == (2, 2, 0)
    balance = steps.balance(acme)
    assert (balance.posted_micros, balance.held_micros, balance.used_micros) == (99_000_000, 0, 1_000_000)


def test_caller_that_gives_up_and_asks_again_pays_once_and_so_do_we(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    route = steps.take_route(monkeypatch, lambda _: steps.answer())
    job = steps.open_job(acme)
    first = steps.ask(acme, job)
    services.mark_unanswered(first.call_id)
    steps.run(first)

    again = steps.ask(acme, job)
    steps.complete(acme, job)

    assert again.call_id == first.call_id
    assert steps.call_of(again).state == "succeeded"
    assert len(route.requests) == 1
    assert steps.money(acme) == (99, 0)


def test_job_survives_failures_lost_workers_and_its_own_caller(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    job = steps.open_job(acme)

    # The provider is overloaded.
    def overloaded(_: object) -> None:
        raise GatewayError("provider_rate_limited", "busy", status=429, is_retryable=True, retry_after_s=1)

    with monkeypatch.context() as patched:
        steps.take_route(patched, overloaded)  # type: ignore[arg-type]
        steps.run(steps.ask(acme, job, "first"))
    # A worker dies with the second call, which another one makes.
    second = steps.ask(acme, job, "second")
    execution.claim(str(second.call_id))
    steps.at(steps.call_of(second), lease_until=-1)
    sweeper._take_over()
    # The caller completes before the answer is there.
    assert steps.complete(acme, job).charge_state == "pending"
    steps.run(second)

    job = steps.fresh(job)
    assert (job.total_calls, job.successful_calls, job.failed_calls) == (2, 1, 1)
    assert (job.status, job.charge_state) == ("completed", "charged")
    assert Entry.objects.filter(kind=Entry.Kind.CHARGE).count() == 1
    assert steps.money(acme) == (99, 0)
    assert sorted(Attempt.objects.values_list("state", flat=True)) == ["abandoned", "failed", "succeeded"]


def test_terms_of_a_job_that_was_never_called_are_not_there(acme: make.Customer):
    steps.open_job(acme)

    assert Job.objects.filter(terms__isnull=True).count() == 1
