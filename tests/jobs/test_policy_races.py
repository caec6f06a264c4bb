"""Policies and caps under threads on PostgreSQL: one charge, by what was really served, and never past a cap."""

import pytest

from apps.credits.models import Entry, Hold
from apps.jobs import execution, lifecycle, services
from apps.jobs.errors import JobCostCap
from apps.jobs.lifecycle import Outcome
from apps.jobs.models import Call
from tests import make
from tests.jobs import steps
from tests.jobs.test_policies import ask, put_in_force
from tests.jobs.test_races import at_once

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

USD = 1_000_000_000


def customer() -> make.Customer:
    make.alias("priced", input_usd_per_mtok=1_000, output_usd_per_mtok=2_000, max_output_tokens=1_000)
    return make.customer(credits=100, access_groups=["priced"])


def test_B12_job_that_is_failed_while_its_calls_end_pays_its_policy_once():
    acme = customer()
    put_in_force(acme, "flat", price_credits=4, on_failed="cost")
    for _ in range(5):
        job = steps.open_job(acme)
        calls = [ask(acme, job, f"{number}") for number in range(3)]
        for call in calls:
            assert execution.claim(str(call.call_id)) is not None
        served = Outcome(Call.State.SUCCEEDED, prompt_tokens=10, completion_tokens=5, cost_nanousd=USD // 10)

        def end(call: services.Submitted, outcome: Outcome = served) -> bool:
            return lifecycle.end_call(call.job_id, call.call_id, outcome, claim=1)

        at_once(
            lambda job=job: steps.complete(acme, job, "failed"),
            *(lambda call=call, end=end: end(call) for call in calls),
        )

        job = steps.fresh(job)
        assert (job.status, job.charge_state, job.charged_micros) == ("failed", "charged", 3_000_000)
        assert Entry.objects.filter(kind="charge", job=str(job.pk)).count() == 1
    assert steps.money(acme) == (85, 0)


def test_calls_at_the_same_moment_stay_within_the_jobs_cost_cap():
    """Each may cost about 0.24 USD, the job one: four enter."""
    acme = customer()
    put_in_force(acme, "flat", price_credits=4, cost_cap_usd=1)
    job = steps.open_job(acme)

    results = at_once(*(lambda number=number: ask(acme, job, f"{number}") for number in range(8)))

    assert sum(isinstance(result, JobCostCap) for result in results) == 4
    job = steps.fresh(job)
    assert (job.total_calls, job.held_micros) == (4, 4_000_000)
    assert job.open_bound_nanousd <= USD
    assert Hold.objects.filter(job=str(job.pk)).count() == 1
