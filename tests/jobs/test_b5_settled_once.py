"""B5, async work settled exactly once: the price is frozen when it is submitted, a call is settled by one end, and no
timeout gives back what the provider may still bill."""

from typing import Any

import pytest

from apps.catalog.models import ModelAlias
from apps.credits import billing, pricing
from apps.credits.models import Entry
from apps.jobs import execution, lifecycle, services, sweeper
from apps.jobs.lifecycle import Outcome
from apps.jobs.models import Attempt, Call
from tests import make
from tests.jobs import steps

SERVED = Outcome(Call.State.SUCCEEDED, prompt_tokens=0, completion_tokens=500, cost_nanousd=1_000_000_000)


@pytest.fixture
def metered(db: None) -> make.Customer:
    """Metered in USD at 10 credits a dollar; 500 tokens out cost a dollar."""
    make.alias("priced", input_usd_per_mtok=1, output_usd_per_mtok=2_000, default_output_tokens=1_000)
    return make.metered_customer(team_id="metered", credits=1_000, access_groups=["priced"])


def submitted(customer: make.Customer) -> services.Submitted:
    return steps.ask(customer, steps.open_job(customer), model="priced")


def charges() -> list[int]:
    return list(Entry.objects.filter(kind=Entry.Kind.CHARGE).values_list("amount_micros", flat=True))


def test_b5_price_and_card_are_those_of_the_submission(metered: make.Customer, monkeypatch: pytest.MonkeyPatch):
    steps.take_route(monkeypatch, lambda _: steps.answer(prompt=0, completion=500))
    call = submitted(metered)
    ModelAlias.objects.update(output_nanousd_per_mtok=9_999 * 10**9)
    billing.change_plan(metered.team, actor=make.TESTER, credits_per_dollar=7_777)
    pricing.forget_cached()

    steps.run(call)
    steps.complete(metered, call.job_id)

    assert charges() == [10_000_000]


def test_b5_call_is_settled_by_its_first_end_alone(metered: make.Customer):
    call = submitted(metered)
    claimed = execution.claim(str(call.call_id))
    assert claimed is not None
    ends = [lifecycle.end_call(call.job_id, call.call_id, SERVED, claim=1, claimed=claimed.call) for _ in range(3)]

    for _ in range(2):
        steps.complete(metered, call.job_id)
        sweeper.run()

    assert ends == [True, False, False]
    assert steps.job_of(call).provider_cost_nanousd == SERVED.cost_nanousd
    assert charges() == [10_000_000]
    assert Attempt.objects.filter(call=call.call_id).count() == 1


def test_b5_wait_that_ends_gives_nothing_back_and_the_call_is_settled_later(metered: make.Customer):
    call = submitted(metered)
    claimed = execution.claim(str(call.call_id))
    assert claimed is not None
    held = steps.money(metered)[1]

    services.mark_unanswered(call.call_id)
    steps.at(steps.call_of(call), wait_until=-60)
    sweeper.run()
    done = steps.complete(metered, call.job_id)

    assert (done.charge_state, steps.money(metered)) == ("pending", (1_000, held))
    assert lifecycle.end_call(call.job_id, call.call_id, SERVED, claim=1, claimed=claimed.call)
    assert (charges(), steps.money(metered)) == ([10_000_000], (990, 0))


def test_b5_takeover_keeps_the_hold_and_one_of_the_two_claims_settles(metered: make.Customer):
    call = submitted(metered)
    first = execution.claim(str(call.call_id))
    assert first is not None
    held = steps.money(metered)[1]
    steps.at(steps.call_of(call), lease_until=-1)
    sweeper._take_over()
    second = execution.claim(str(call.call_id))
    assert second is not None
    assert steps.money(metered) == (1_000, held)

    late = lifecycle.end_call(call.job_id, call.call_id, SERVED, claim=1, claimed=first.call)
    served = lifecycle.end_call(call.job_id, call.call_id, SERVED, claim=2, claimed=second.call)
    steps.complete(metered, call.job_id)

    assert (late, served, charges()) == (False, True, [10_000_000])


def test_b5_call_past_its_deadline_is_known_to_cost_something_and_settles_no_second_time(metered: make.Customer):
    """What the provider may bill for it is on the books, as the platform's."""
    call = submitted(metered)
    claimed = execution.claim(str(call.call_id))
    assert claimed is not None
    steps.at(steps.call_of(call), deadline_at=-60)
    sweeper._fail_past_deadline()

    late = lifecycle.end_call(call.job_id, call.call_id, SERVED, claim=1, claimed=claimed.call)

    attempt = Attempt.objects.get(call=call.call_id)
    assert (late, attempt.is_estimated, attempt.cost_nanousd > 0) == (False, True, True)
    assert steps.job_of(call).lost_cost_nanousd == attempt.cost_nanousd
    done = steps.complete(metered, call.job_id)
    assert (done.charge_state, charges(), steps.money(metered)) == ("free", [], (1_000, 0))


def test_b5_deadline_of_a_job_waits_for_its_open_call(metered: make.Customer):
    call = submitted(metered)
    claimed: Any = execution.claim(str(call.call_id))
    steps.at(steps.job_of(call), deadline_at=-1)
    sweeper.run()
    assert steps.job_of(call).status == "in_progress"

    lifecycle.end_call(call.job_id, call.call_id, SERVED, claim=1, claimed=claimed.call)
    sweeper.run()

    assert (steps.job_of(call).closed_by, charges()) == ("deadline", [10_000_000])
