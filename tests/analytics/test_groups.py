"""Every grouping of the same jobs sums up to the same figures, to the last nano-dollar."""

from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.analytics import usage
from apps.jobs.models import Job
from tests.analytics import rows

pytestmark = pytest.mark.django_db
GROUPS = (*usage.DIMENSIONS, "model")

calls = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["fast", "smart", "cheap"]),
        "state": st.sampled_from(["succeeded", "succeeded", "succeeded", "failed", "running"]),
        "cost": st.sampled_from([0, 1, 7, 333_333_333]),
        "tokens": st.tuples(st.integers(0, 9), st.integers(0, 9)),
    }
)
jobs = st.fixed_dictionaries(
    {
        "calls": st.lists(calls, max_size=4).map(tuple),
        "credits": st.integers(0, 7),
        "markup": st.sampled_from([0, 33]),
        "status": st.sampled_from(["completed", "failed", "cancelled", "in_progress", "pending", "paused"]),
        "job_type": st.sampled_from(["query", "report"]),
        "user_id": st.sampled_from(["", "ann", "bob"]),
        "key_id": st.sampled_from(["", "key-1"]),
        "lost_cost_nanousd": st.integers(0, 100),
        "uncollected_micros": st.integers(0, 100),
        "unpriced_calls": st.integers(0, 2),
        "at": st.sampled_from(["1 00:00", "15", "31 23:59"]),
    }
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=st.lists(jobs, max_size=8))
def test_every_grouping_sums_up_to_the_same(acme, made):
    for one in made:
        rows.job(acme, one.pop("at"), one.pop("calls"), **one)

    totals = {by: asdict(usage.total(usage.grouped(Job.objects.all(), by))) for by in GROUPS}

    assert len({str(total) for total in totals.values()}) == 1, totals
    assert totals["model"]["jobs"] == Job.objects.count()
    states = ("pending", "in_progress", "completed", "failed", "cancelled")
    assert totals["day"]["jobs"] == sum(totals["day"][state] for state in states)


def test_a_job_of_several_models_is_split_by_what_their_calls_cost(acme):
    rows.job(acme, calls=({"model": "fast", "cost": 100}, {"model": "smart", "cost": 300}), credits=4)
    rows.job(acme, calls=({"model": "fast", "cost": 100},), credits=1)

    found = usage.grouped(Job.objects.all(), "model")

    assert {name: (line.charged_micros, line.provider_cost_nanousd) for name, line in found.items()} == {
        "fast": (2_000_000, 200),
        "smart": (3_000_000, 300),
    }
    assert (found["fast"].jobs, found["smart"].jobs) == (1, 1)


def test_models_without_a_price_share_by_calls(acme):
    rows.job(acme, calls=({"model": "fast"}, {"model": "fast"}, {"model": "smart"}), credits=1)

    found = usage.grouped(Job.objects.all(), "model")

    assert (found["fast"].charged_micros, found["smart"].charged_micros) == (666_666, 333_334)


def test_jobs_without_calls_have_no_model(acme):
    rows.job(acme)

    assert list(usage.grouped(Job.objects.all(), "model")) == [""]


@pytest.mark.parametrize("by", GROUPS)
def test_a_grouping_takes_a_constant_number_of_queries(acme, by, django_assert_num_queries):
    for number in range(20):
        models = ({"model": f"m-{number}"}, {"model": "other"}) if number % 2 else ({"model": "other"},)
        rows.job(acme, calls=models, job_type=f"type-{number}", markup=number)

    with django_assert_num_queries(2 if by == "model" else 1):
        usage.grouped(Job.objects.for_team(acme.team), by)


@pytest.mark.parametrize(("amount", "weights"), [(0, [1]), (10, [0, 1, 2]), (7, [3, 3, 3]), (1, [1, 1])])
def test_shares_sum_up(amount, weights):
    assert sum(usage.shares(amount, weights)) == amount
