"""A job's budget: its ceiling, what a call beyond it does, reservations, deadlines, and changing them."""

from datetime import timedelta
from typing import Any

import pytest

from apps.core import clock
from apps.core.errors import InvalidField
from apps.core.models import Event
from apps.credits.errors import InsufficientCredits
from apps.credits.models import Hold
from apps.jobs import budgets, escrow, services, sweeper
from apps.jobs.budgets import Change
from apps.jobs.errors import CeilingTooLow, JobCapReached, JobClosed, JobDeadlinePassed, JobNotFound
from apps.jobs.escrow import Budget
from apps.jobs.models import Call, Job
from tests import make
from tests.jobs import steps

MICROS = 1_000_000
# What a call of these tests may cost: 1,000 tokens out at 10 credits a dollar.
PER_CALL = 20


@pytest.fixture
def metered(db: None) -> make.Customer:
    """Metered in USD at 10 credits a dollar, with a priced model of its own: a call may cost 20 credits."""
    make.alias("priced", input_usd_per_mtok=1, output_usd_per_mtok=2_000, default_output_tokens=1_000)
    return make.metered_customer(team_id="metered", credits=1_000, access_groups=["priced"])


@pytest.fixture(autouse=True)
def _answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer has 500 tokens: 10 credits."""
    steps.take_route(monkeypatch, lambda _: steps.answer(prompt=1, completion=500))


def open_job(customer: make.Customer, **budget: Any) -> Job:
    max_credits = budget.pop("max_credits", None)
    micros = None if max_credits is None else max_credits * MICROS
    return steps.open_job(customer, budget=Budget(max_micros=micros, **budget))


def ask(customer: make.Customer, job: Job, text: str = steps.QUESTION, **more: Any) -> services.Submitted:
    return steps.ask(customer, job, text, model="priced", **more)


def served(customer: make.Customer, job: Job, text: str = steps.QUESTION) -> None:
    assert steps.run(ask(customer, job, text))


def refused(customer: make.Customer, job: Job, **more: Any) -> JobCapReached:
    with pytest.raises(JobCapReached) as caught:
        steps.ask(customer, job, "One too many", **more)
    return caught.value


def change(customer: make.Customer, job: Job, **wanted: Any) -> Job:
    if "max_credits" in wanted:
        given = wanted.pop("max_credits")
        wanted["max_micros"] = None if given is None else given * MICROS
    return budgets.change(customer.principal, job_id=str(job.pk), wanted=Change(frozenset(wanted), **wanted))


def events(kind: str) -> list[dict[str, Any]]:
    return [event.data for event in Event.objects.filter(kind=kind).order_by("id")]


def held(customer: make.Customer) -> float:
    return steps.money(customer)[1]


def wire(job: Job) -> dict[str, Any]:
    shown = escrow.as_wire(steps.fresh(job))
    assert shown is not None
    return shown


# --- The ceiling --------------------------------------------------------------------------------------------


def test_hold_grows_by_call_under_the_ceiling_and_creating_takes_nothing(metered: make.Customer):
    job = open_job(metered, max_credits=50)
    assert held(metered) == 0

    ask(metered, job, "a")
    assert held(metered) == PER_CALL
    ask(metered, job, "b")
    assert held(metered) == 2 * PER_CALL


def test_creating_never_fails_for_lack_of_credits(db: None):
    poor = make.customer(credits=0)

    assert open_job(poor, max_credits=1_000).max_micros == 1_000 * MICROS


def test_call_beyond_the_ceiling_is_refused_in_words_and_figures(metered: make.Customer):
    job = open_job(metered, max_credits=50)
    ask(metered, job, "a")
    ask(metered, job, "b")

    error = refused(metered, job, model="priced")

    assert error.code == "job_cap_reached"
    assert "max_credits: 50 credits" in error.message
    assert "40 are held" in error.message
    assert "would need 60" in error.message
    assert {name: error.details[name] for name in ("limit", "scope", "id", "max_credits")} == {
        "limit": "max_credits",
        "scope": "job",
        "id": str(job.pk),
        "max_credits": "50",
    }
    assert (error.details["needed_micros"], error.details["held"]) == (60 * MICROS, 40 * MICROS)
    job = steps.fresh(job)
    assert (job.status, job.total_calls, held(metered)) == ("in_progress", 2, 40)
    assert events("call.refused")[0]["code"] == "job_cap_reached"
    assert events("job.budget_paused") == []


def test_ceiling_itself_is_enough(metered: make.Customer):
    job = open_job(metered, max_credits=2 * PER_CALL)

    ask(metered, job, "a")
    ask(metered, job, "b")

    assert wire(job)["remaining_exact"] == "0"


def test_what_a_call_did_not_use_is_there_for_the_next(metered: make.Customer):
    job = open_job(metered, max_credits=30)
    served(metered, job, "a")

    ask(metered, job, "b")

    assert held(metered) == 30
    refused(metered, job, model="priced")


def test_flat_job_whose_price_exceeds_its_ceiling_is_refused_at_its_first_call(acme: make.Customer, settings: Any):
    settings.DEFAULT_CREDITS_PER_JOB = 5
    job = open_job(acme, max_credits=4)

    error = refused(acme, job)

    assert error.details["needed_micros"] == 5 * MICROS
    assert held(acme) == 0
    assert steps.fresh(job).terms is None


def test_flat_job_within_its_ceiling_is_one_like_any_other(acme: make.Customer):
    job = open_job(acme, max_credits=1)

    for text in "abc":
        assert steps.ask(acme, job, text).has_ceiling

    assert (held(acme), steps.fresh(job).total_calls) == (1, 3)


def test_charge_never_exceeds_the_ceiling_even_when_a_provider_does(
    metered: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    steps.take_route(monkeypatch, lambda _: steps.answer(prompt=1, completion=5_000))
    job = open_job(metered, max_credits=25)
    served(metered, job)

    done = steps.complete(metered, job)

    assert (done.charged_micros, done.uncollected_micros) == (25 * MICROS, 75 * MICROS)
    assert steps.money(metered) == (975, 0)


def test_lack_of_credits_is_told_as_such_below_the_ceiling(db: None):
    make.alias("priced", input_usd_per_mtok=1, output_usd_per_mtok=2_000, default_output_tokens=1_000)
    poor = make.metered_customer(credits=30, access_groups=["priced"])
    job = open_job(poor, max_credits=1_000)
    ask(poor, job, "a")

    with pytest.raises(InsufficientCredits):
        ask(poor, job, "b")


# --- The pause ----------------------------------------------------------------------------------------------


def test_job_pauses_at_its_ceiling_and_loses_nothing(metered: make.Customer):
    job = open_job(metered, max_credits=30, on_cap="pause")
    open_call = ask(metered, job, "a")

    refused(metered, job, model="priced")

    paused = steps.fresh(job)
    assert (paused.status, paused.wire_status, paused.paused_reason) == ("paused", "in_progress", "budget")
    assert (paused.held_micros, held(metered)) == (20 * MICROS, 20)
    (event,) = events("job.budget_paused")
    assert (event["max_credits"], event["held"], event["needed"]) == ("30", "20", "40")
    assert steps.run(open_call)
    assert steps.call_of(open_call).state == Call.State.SUCCEEDED
    assert steps.fresh(job).status == "paused"


def test_paused_job_refuses_every_call_until_it_is_raised(metered: make.Customer):
    job = open_job(metered, max_credits=30, on_cap="pause")
    served(metered, job, "a")
    served(metered, job, "b")
    refused(metered, job, model="priced")

    error = refused(metered, job, model="priced", parameters={"max_tokens": 1})

    assert "paused" in error.message
    assert len(events("job.budget_paused")) == 1
    change(metered, job, max_credits=40)
    ask(metered, job, "now it fits")


def test_paused_job_completes_and_is_charged_for_what_was_served(metered: make.Customer):
    job = open_job(metered, max_credits=25, on_cap="pause")
    served(metered, job)
    refused(metered, job, model="priced")

    done = steps.complete(metered, job)

    assert (done.status, done.paused_reason, done.charged_micros) == ("completed", "", 10 * MICROS)


def test_pause_that_finds_room_is_judged_again(metered: make.Customer, monkeypatch: pytest.MonkeyPatch):
    job = open_job(metered, max_credits=30, on_cap="pause")
    ask(metered, job, "a")
    pause = escrow.pause

    def raised_meanwhile(principal: Any, error: JobCapReached) -> bool:
        monkeypatch.setattr(escrow, "pause", pause)
        change(metered, job, max_credits=100)
        return pause(principal, error)

    monkeypatch.setattr(escrow, "pause", raised_meanwhile)

    assert ask(metered, job, "b").is_new
    assert (steps.fresh(job).status, steps.fresh(job).total_calls) == ("in_progress", 2)
    assert events("job.budget_paused") == []


def test_one_call_job_beyond_its_ceiling_is_left_failed(metered: make.Customer):
    new = services.NewJob("query", budget=Budget(max_micros=MICROS, on_cap="pause"))

    with pytest.raises(JobCapReached):
        services.submit_one_call_job(
            metered.principal, new, steps.request_for(model="priced"), wait_s=28, reply_to=""
        )

    (job,) = Job.objects.all()
    assert (job.status, job.charge_state, job.max_micros, job.paused_reason) == ("failed", "free", MICROS, "")
    assert held(metered) == 0


# --- Changing it --------------------------------------------------------------------------------------------


def test_raise_ends_the_pause_once(metered: make.Customer):
    job = open_job(metered, max_credits=30, on_cap="pause")
    served(metered, job)
    ask(metered, job, "open")
    refused(metered, job, model="priced")

    for _ in range(2):
        resumed = change(metered, job, max_credits=60)
        assert (resumed.status, resumed.paused_reason) == ("in_progress", "")

    assert [event["max_credits"] for event in events("job.resumed")] == ["60"]
    ask(metered, job, "goes on")


@pytest.mark.parametrize("wanted", [{"max_credits": 30}, {"deadline": 60}, {"max_credits": 25}])
def test_what_is_no_raise_leaves_the_pause(metered: make.Customer, wanted: dict[str, Any]):
    job = open_job(metered, max_credits=30, on_cap="pause")
    ask(metered, job, "open")
    refused(metered, job, model="priced")

    assert change(metered, job, **wanted).status == "paused"
    assert events("job.resumed") == []


@pytest.mark.parametrize("wanted", [{"max_credits": None}, {"on_cap": "refuse"}])
def test_pause_ends_without_a_ceiling_or_when_calls_are_to_be_refused(metered: make.Customer, wanted: dict[str, Any]):
    job = open_job(metered, max_credits=15, on_cap="pause")
    refused(metered, job, model="priced")
    assert steps.fresh(job).status == "paused"

    assert change(metered, job, **wanted).status == "pending"


def test_ceiling_is_not_lowered_below_what_the_job_may_need(metered: make.Customer):
    job = open_job(metered, max_credits=100)
    served(metered, job, "a")
    ask(metered, job, "b")

    with pytest.raises(CeilingTooLow, match="at least 30") as caught:
        change(metered, job, max_credits=29)

    assert caught.value.details["needed_micros"] == 30 * MICROS
    assert steps.fresh(job).max_micros == 100 * MICROS
    assert change(metered, job, max_credits=30).max_micros == 30 * MICROS
    refused(metered, job, model="priced")


def test_hold_beyond_a_lower_ceiling_is_given_back(metered: make.Customer):
    job = open_job(metered, max_credits=100)
    for text in "abcd":
        ask(metered, job, text)
    steps.run(steps.services.Submitted(job.pk, Call.objects.first().pk, is_new=True))  # type: ignore[union-attr]
    assert held(metered) == 80

    change(metered, job, max_credits=75)

    assert (held(metered), steps.fresh(job).held_micros) == (70, 70 * MICROS)


def test_repeat_changes_nothing(metered: make.Customer):
    job = open_job(metered)

    first = change(metered, job, max_credits=5, on_cap="pause")
    second = change(metered, job, max_credits=5, on_cap="pause")

    assert (first.max_micros, first.on_cap) == (second.max_micros, second.on_cap) == (5 * MICROS, "pause")
    assert (second.status, held(metered)) == ("pending", 0)


def test_closed_job_is_not_changed(acme: make.Customer):
    job = open_job(acme, max_credits=5)
    steps.complete(acme, job)

    with pytest.raises(JobClosed):
        change(acme, job, max_credits=6)


@pytest.mark.parametrize("job_id", ["not-an-id", "00000000-0000-0000-0000-000000000000"])
def test_unknown_job_is_not_changed(acme: make.Customer, job_id: str):
    with pytest.raises(JobNotFound):
        budgets.change(acme.principal, job_id=job_id, wanted=Change(frozenset(["max_micros"]), max_micros=1))


def test_foreign_job_is_not_changed(acme: make.Customer, globex: make.Customer):
    job = open_job(acme, max_credits=5)

    with pytest.raises(JobNotFound):
        change(globex, job, max_credits=500)


# --- Reservations -------------------------------------------------------------------------------------------


def test_reservation_takes_the_whole_ceiling_at_once_and_keeps_it(metered: make.Customer):
    job = open_job(metered, max_credits=100, reserves=True)
    assert held(metered) == 100

    served(metered, job)

    assert (held(metered), wire(job)["remaining_exact"]) == (100, "90")
    steps.complete(metered, job)
    assert steps.money(metered) == (990, 0)


def test_reservation_that_the_wallet_cannot_bear_leaves_nothing_but_the_refusal(db: None):
    poor = make.customer(credits=10)

    with pytest.raises(InsufficientCredits):
        open_job(poor, max_credits=11, reserves=True)

    assert (Job.objects.count(), Hold.objects.count(), held(poor)) == (0, 0, 0)
    (event,) = Event.objects.filter(kind="job.refused")
    assert (event.subject, event.data["code"]) == (f"team:{poor.team.team_id}", "insufficient_credits")


def test_reservation_without_a_ceiling_is_refused(acme: make.Customer):
    with pytest.raises(InvalidField, match="max_credits"):
        open_job(acme, reserves=True)


def test_reserved_job_without_a_call_gives_all_of_it_back(acme: make.Customer):
    job = open_job(acme, max_credits=100, reserves=True)

    steps.complete(acme, job)

    assert steps.money(acme) == (100, 0)
    assert steps.fresh(job).charge_state == "free"


def test_flat_job_pays_its_price_out_of_its_reservation(acme: make.Customer):
    job = open_job(acme, max_credits=7, reserves=True)
    steps.run(steps.ask(acme, job))
    assert held(acme) == 7

    steps.complete(acme, job)

    assert steps.money(acme) == (99, 0)


def test_reservation_grows_and_shrinks_with_the_ceiling(acme: make.Customer):
    job = open_job(acme, max_credits=10, reserves=True)

    change(acme, job, max_credits=30)
    assert held(acme) == 30
    change(acme, job, max_credits=5)
    assert held(acme) == 5
    with pytest.raises(InsufficientCredits):
        change(acme, job, max_credits=101)
    assert (held(acme), steps.fresh(job).max_micros) == (5, 5 * MICROS)


def test_reservation_that_is_given_back_leaves_a_job_like_any_other(acme: make.Customer):
    job = open_job(acme, max_credits=10, reserves=True)
    change(acme, job, reserves=False, max_credits=None)
    assert held(acme) == 0

    steps.run(steps.ask(acme, job))

    assert (held(acme), steps.fresh(job).held_micros) == (1, MICROS)
    steps.complete(acme, job)
    assert steps.money(acme) == (99, 0)


def test_reservation_can_be_asked_for_later(metered: make.Customer):
    job = open_job(metered, max_credits=100)
    served(metered, job)

    change(metered, job, reserves=True)
    assert held(metered) == 100
    change(metered, job, reserves=False)
    assert held(metered) == 10


def test_reserved_one_call_job_is_charged_its_price_alone(acme: make.Customer):
    new = services.NewJob("query", budget=Budget(max_micros=9 * MICROS, reserves=True))
    submitted = services.submit_one_call_job(acme.principal, new, steps.request_for(), wait_s=28, reply_to="")
    assert held(acme) == 9

    steps.run(submitted)

    assert steps.money(acme) == (99, 0)


# --- The deadline -------------------------------------------------------------------------------------------


def test_deadline_in_seconds_is_counted_by_the_database_s_clock(acme: make.Customer):
    job = open_job(acme, deadline=90)

    assert job.deadline_at is not None
    assert abs((job.deadline_at - clock.db_now()).total_seconds() - 90) < 5


@pytest.mark.parametrize("ahead", [timedelta(seconds=-1), timedelta(0), timedelta(days=400)])
def test_deadline_is_in_the_future_and_not_for_ever(acme: make.Customer, ahead: timedelta):
    with pytest.raises(InvalidField, match="deadline must be in the future"):
        open_job(acme, deadline=clock.db_now() + ahead)
    assert Job.objects.count() == 0


def test_no_call_is_taken_after_the_deadline(acme: make.Customer):
    job = open_job(acme, deadline=60)
    steps.ask(acme, job, "in time")
    steps.at(job, deadline_at=-1)

    with pytest.raises(JobDeadlinePassed):
        steps.ask(acme, job, "too late")

    assert steps.fresh(job).total_calls == 1


def test_sweeper_closes_a_job_past_its_deadline_and_charges_it_if_a_call_succeeded(acme: make.Customer):
    done, nothing, open_one, early = (open_job(acme, deadline=60) for _ in range(4))
    steps.run(steps.ask(acme, done, "a"))
    call = steps.ask(acme, open_one, "b")
    for job in (done, nothing, open_one):
        steps.at(job, deadline_at=-1)

    assert sweeper.run().jobs_closed == 2

    assert (steps.fresh(done).status, steps.fresh(done).charged_micros) == ("completed", MICROS)
    assert (steps.fresh(nothing).status, steps.fresh(nothing).error_message) == (
        "failed",
        "Its deadline has passed",
    )
    assert {steps.fresh(job).closed_by for job in (done, nothing)} == {"deadline"}
    assert (steps.fresh(open_one).status, steps.fresh(early).status) == ("in_progress", "pending")
    steps.run(call)
    assert sweeper.run().jobs_closed == 1
    assert steps.money(acme) == (98, 0)


def test_paused_job_is_closed_at_its_deadline_too(metered: make.Customer):
    job = open_job(metered, max_credits=25, on_cap="pause", deadline=60)
    served(metered, job)
    refused(metered, job, model="priced")
    steps.at(job, deadline_at=-1)

    sweeper.run()

    assert (steps.fresh(job).status, steps.fresh(job).charged_micros) == ("completed", 10 * MICROS)


def test_deadline_is_moved_and_lifted(acme: make.Customer):
    job = open_job(acme, deadline=60)
    steps.at(job, deadline_at=-1)

    change(acme, job, deadline=60)
    steps.ask(acme, job)
    assert change(acme, job, deadline=None).deadline_at is None


# --- What is shown ------------------------------------------------------------------------------------------


def test_figures_of_a_job_at_work_and_of_one_that_is_settled(metered: make.Customer):
    job = open_job(metered, max_credits=100, on_cap="pause")
    served(metered, job, "a")
    ask(metered, job, "b")

    assert wire(job) == {
        "max_credits": 100,
        "held": 30,
        "used": 10,
        "remaining": 70,
        "max_credits_exact": "100",
        "held_exact": "30",
        "used_exact": "10",
        "remaining_exact": "70",
        "reserve": False,
        "on_cap": "pause",
        "deadline": None,
    }

    steps.run(services.Submitted(job.pk, Call.objects.get(state="queued").pk, is_new=True))
    steps.complete(metered, job)
    assert (wire(job)["held"], wire(job)["used"], wire(job)["remaining"]) == (0, 20, 80)


def test_job_without_a_ceiling_shows_none(acme: make.Customer):
    assert escrow.as_wire(open_job(acme)) is None
