"""Calls admitted, claimed and settled in groups come to what they come to one by one. PostgreSQL alone has groups."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import DataError, OperationalError, connection, transaction
from django.forms.models import model_to_dict

from apps.catalog.errors import ModelNotAllowed
from apps.core.models import Event
from apps.credits.errors import InsufficientCredits
from apps.credits.models import Account, Hold
from apps.jobs import crew, execution, group_admission, lifecycle, replies, services, sweeper
from apps.jobs.errors import CallNotFound, JobClosed, JobNotFound, TooManyCalls
from apps.jobs.escrow import Budget
from apps.jobs.gateway.interface import GatewayError
from apps.jobs.lifecycle import End, Outcome
from apps.jobs.models import Attempt, Call, CallPayload, Job
from apps.jobs.streaming import marks
from apps.teams import services as teams
from apps.teams.errors import TeamNotActive
from tests import make
from tests.jobs import steps

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


def wish(customer: make.Customer, job: Job, text: str = "Hello", **more: Any) -> group_admission._Wish:
    """A call into a job as `submit_call` prepares it."""
    given: list[group_admission._Wish] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(group_admission, "_admissions", lambda one: given.append(one))
        group_admission.submit_together(
            customer.principal, steps.request_for(text, **more), job_id=job.pk, wait_s=28, reply_to="web"
        )
    return given[0]


def by_tokens() -> make.Customer:
    """A customer whose jobs are priced by their tokens."""
    return make.customer(team_id="metered", credits=100, budget_mode="consumption_tokens")


def under_way(customer: make.Customer) -> Job:
    """A job that has its terms and its hold, from a call that was answered."""
    job = steps.open_job(customer)
    steps.run(steps.ask(customer, job, "first"))
    return steps.fresh(job)


def claimed(customer: make.Customer, *jobs: Job) -> list[execution.Claimed]:
    """A call in each of these jobs, claimed."""
    asked = [steps.ask(customer, job, f"call {number}") for number, job in enumerate(jobs)]
    found = execution._claim_together([str(submitted.call_id) for submitted in asked])
    assert len(found) == len(jobs)
    return found


def served(**more: Any) -> Outcome:
    figures = {"prompt_tokens": 7, "completion_tokens": 3, "latency_ms": 12, "response": '{"choices": []}'} | more
    return Outcome(Call.State.SUCCEEDED, **figures)


@contextmanager
def locked_elsewhere(row: Job | Account | Call | Attempt) -> Iterator[None]:
    """The row under another transaction's lock."""
    is_locked, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            type(row)._default_manager.select_for_update().get(pk=row.pk)
            is_locked.set()
            assert may_end.wait(20)
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        assert is_locked.wait(20)
        try:
            yield
        finally:
            may_end.set()
            holding.result()


# --- Admission ----------------------------------------------------------------------------------------------


def test_several_calls_of_several_jobs_are_admitted_at_once(acme: make.Customer):
    one, two = under_way(acme), under_way(acme)

    first, second, third = group_admission._admit_many(
        [wish(acme, one, "a"), wish(acme, two, "b"), wish(acme, one, "c")]
    )

    assert first is not None
    assert second is not None
    assert third is not None
    assert (steps.fresh(one).open_calls, steps.fresh(one).total_calls) == (2, 3)
    assert (steps.fresh(two).open_calls, steps.fresh(two).total_calls) == (1, 2)
    assert [steps.call_of(each).payload.request for each in (first, second, third)] == [
        f'{{"messages":[{{"role":"user","content":"{text}"}}]}}' for text in "abc"
    ]


def columns_of(row: Any, *but: str) -> dict[str, Any]:
    """A row's values, apart from what differs between any two rows."""
    concrete = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    assert set(model_to_dict(row)) <= {field.name for field in row._meta.fields}
    return {name: value for name, value in concrete.items() if name not in {"id", "fingerprint", *but}}


INSTANTS = ("created_at", "deadline_at", "wait_until", "next_publish_at", "started_at", "ended_at", "lease_until")


def test_call_that_is_admitted_in_a_group_is_one_like_any_other(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    job = under_way(acme)
    text, metadata = "What?", {"step": 1}
    _, grouped = group_admission._admit_many(
        [wish(acme, under_way(acme)), wish(acme, job, text, fingerprint="a", call_metadata=metadata)]
    )
    monkeypatch.setattr(services, "submit_together", lambda *_, **__: None)
    alone = steps.ask(acme, job, text, fingerprint="b", call_metadata=metadata, reply_to="web")

    assert grouped is not None
    one, two = steps.call_of(grouped), steps.call_of(alone)
    assert columns_of(one, *INSTANTS) == columns_of(two, *INSTANTS)
    assert columns_of(one.payload, "call_id") == columns_of(two.payload, "call_id")
    for name in INSTANTS:
        before, after = getattr(one, name), getattr(two, name)
        assert (before is None) == (after is None)
        assert before is None or abs((after - before).total_seconds()) < 5
    job = steps.fresh(job)
    assert (job.open_calls, job.pending_metadata_bytes) == (2, 2 * len('{"step":1}'))


def test_what_needs_a_decision_is_left_to_one_alone_and_the_rest_is_admitted(acme: make.Customer):
    plain, closed = under_way(acme), under_way(acme)
    metered = by_tokens()
    steps.complete(acme, closed)

    found = group_admission._admit_many(
        [
            wish(acme, closed),
            wish(metered, under_way(metered)),
            wish(acme, plain, call_metadata={"x": "y" * 20_000}),
            wish(acme, plain),
        ]
    )

    assert [each is not None for each in found] == [False, False, False, True]
    assert steps.fresh(plain).open_calls == 1
    assert Call.objects.filter(state=Call.State.QUEUED).count() == 1


def test_jobs_whose_budget_may_refuse_are_left_to_one_alone(acme: make.Customer):
    def with_budget(**budget: Any) -> Job:
        return steps.open_job(acme, budget=Budget(**budget))

    late, low = with_budget(deadline=60), with_budget(max_micros=999_999)
    paused = with_budget(max_micros=5_000_000, on_cap="pause")
    Job.objects.filter(pk=paused.pk).update(status="paused", paused_reason="budget")
    wide, reserved = with_budget(max_micros=1_000_000), with_budget(max_micros=3_000_000, reserves=True)

    found = group_admission._admit_many([wish(acme, job) for job in (late, low, paused, wide, reserved)])

    assert [each is not None and each.has_ceiling for each in found] == [False, False, False, True, True]
    assert [steps.fresh(job).held_micros for job in (late, low, wide, reserved)] == [0, 0, 1_000_000, 3_000_000]
    assert steps.money(acme) == (100, 4)


def test_first_calls_hold_their_jobs_prices(acme: make.Customer):
    jobs = [steps.open_job(acme) for _ in range(3)]

    found = group_admission._admit_many([wish(acme, job) for job in (*jobs, jobs[0])])

    assert None not in found
    assert steps.money(acme) == (100, 3)
    assert [(steps.fresh(job).held_micros, steps.fresh(job).status) for job in jobs] == [
        (1_000_000, "in_progress")
    ] * 3
    assert [steps.terms_of(job).price_micros for job in jobs] == [1_000_000] * 3
    assert [hold.amount_micros for hold in Hold.objects.filter(state="open")] == [1_000_000] * 3


def test_first_calls_that_the_wallet_cannot_bear_together_are_judged_one_by_one(db: None):
    make.platform_model()
    poor = make.customer(team_id="poor", credits=2)
    rich = make.customer(team_id="rich", credits=5)
    of_poor, of_rich = [steps.open_job(poor) for _ in range(3)], steps.open_job(rich)

    found = group_admission._admit_many([*(wish(poor, job) for job in of_poor), wish(rich, of_rich)])

    assert [each is not None for each in found] == [False, False, False, True]
    assert (steps.money(poor), steps.money(rich)) == ((2, 0), (5, 1))
    assert [steps.fresh(job).terms for job in of_poor] == [None] * 3
    for job in of_poor[:2]:
        steps.ask(poor, job)
    with pytest.raises(InsufficientCredits):
        steps.ask(poor, of_poor[2])


def test_wallet_that_is_locked_holds_up_nobody_else(acme: make.Customer, globex: make.Customer):
    one, two = steps.open_job(acme), steps.open_job(globex)

    with locked_elsewhere(Account.objects.get(team=acme.team)):
        assert group_admission._admit_many([wish(acme, one)]) == [None]
        assert group_admission._admit_many([wish(globex, two)]) != [None]


def test_nothing_is_held_for_a_first_call_that_is_refused(acme: make.Customer):
    job = steps.open_job(acme)

    assert group_admission._admit_many([wish(acme, job, call_metadata={"x": "y" * 20_000})]) == [None]

    assert (steps.money(acme), steps.fresh(job).terms) == ((100, 0), None)


def test_free_job_needs_no_hold(acme: make.Customer, settings: Any):
    settings.DEFAULT_CREDITS_PER_JOB = 0
    job = steps.open_job(acme)

    assert group_admission._admit_many([wish(acme, job)]) != [None]

    assert (steps.money(acme), Hold.objects.count(), steps.terms_of(job).price_micros) == ((100, 0), 0, 0)


def test_job_of_another_team_is_none_of_yours(acme: make.Customer, globex: make.Customer):
    job = under_way(acme)

    assert group_admission._admit_many([wish(globex, job)]) == [None]
    with pytest.raises(JobNotFound):
        steps.ask(globex, job)
    assert steps.fresh(job).open_calls == 0


def test_refusals_are_those_of_a_call_alone(acme: make.Customer, settings: Any):
    job = under_way(acme)
    settings.CALLS_PER_JOB_MAX = 1
    with pytest.raises(TooManyCalls):
        steps.ask(acme, job)
    settings.CALLS_PER_JOB_MAX = 10
    with pytest.raises(ModelNotAllowed):
        steps.ask(acme, job, model="unknown")
    teams.set_status(acme.team, status="suspended", actor=make.TESTER)
    with pytest.raises(TeamNotActive):
        steps.ask(acme, job)
    teams.set_status(acme.team, status="active", actor=make.TESTER)
    steps.complete(acme, job)
    with pytest.raises(JobClosed):
        steps.ask(acme, job)

    assert Event.objects.filter(kind="call.refused").count() == 4
    assert Call.objects.count() == 1


def test_unanswered_twin_is_given_to_who_asks_again(acme: make.Customer):
    job = under_way(acme)
    first = steps.ask(acme, job, "again?")
    services.mark_unanswered(first.call_id)

    second = steps.ask(acme, job, "again?")

    assert (second.call_id, second.is_new) == (first.call_id, False)


def test_locked_job_holds_up_nobody_else(acme: make.Customer):
    one, two = under_way(acme), under_way(acme)

    with locked_elsewhere(one):
        first, second = group_admission._admit_many([wish(acme, one), wish(acme, two)])

    assert first is None
    assert second is not None


def test_many_threads_admit_what_the_job_allows(acme: make.Customer, settings: Any):
    settings.CALLS_PER_JOB_MAX = 31
    job = under_way(acme)

    def ask(number: int) -> bool:
        try:
            steps.ask(acme, job, f"call {number}")
        except TooManyCalls:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(16) as pool:
        admitted = list(pool.map(ask, range(60)))

    assert sum(admitted) == 30
    job = steps.fresh(job)
    assert (job.open_calls, job.total_calls, Call.objects.count()) == (30, 31, 31)


def test_first_calls_of_many_jobs_are_admitted_within_the_credits(db: None):
    make.platform_model()
    customer = make.customer(team_id="ten", credits=10)
    jobs = [steps.open_job(customer) for _ in range(30)]

    def ask(job: Job) -> bool:
        try:
            steps.ask(customer, job)
        except InsufficientCredits:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(ask, jobs)) == 10
    assert steps.money(customer) == (10, 10)


def test_admission_whose_outcome_nobody_knows_is_not_made_twice(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    job = under_way(acme)
    tries: list[int] = []
    admit_many = services.statements.admit_many

    def lose_the_connection(*args: Any, **more: Any) -> None:
        tries.append(1)
        admit_many(*args, **more)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(services.statements, "admit_many", lose_the_connection)

    with pytest.raises(OperationalError):
        steps.ask(acme, job)

    assert tries == [1]


# --- Claims -------------------------------------------------------------------------------------------------


def test_calls_of_one_message_are_made_at_the_same_time(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    all_there = threading.Barrier(3)

    def together(_: Any) -> Any:
        all_there.wait(20)
        return steps.answer()

    steps.take_route(monkeypatch, together)
    job = steps.open_job(acme)
    asked = [steps.ask(acme, job, f"call {number}") for number in range(3)]

    assert execution.run_calls([str(each.call_id) for each in asked]) == 3

    assert {steps.call_of(each).state for each in asked} == {"succeeded"}
    job = steps.fresh(job)
    assert (job.open_calls, job.successful_calls, job.total_tokens) == (0, 3, 45)
    assert Attempt.objects.filter(state="succeeded", claim=1).count() == 3


def test_claim_in_a_group_is_one_like_any_other(acme: make.Customer):
    job = steps.open_job(acme)
    asked = [steps.ask(acme, job, text, fingerprint=text) for text in ("one", "two")]
    (grouped,) = execution._claim_together([str(asked[0].call_id)])
    alone = execution.claim(str(asked[1].call_id))

    assert alone is not None
    one, two = (steps.call_of(each) for each in asked)
    assert columns_of(one, *INSTANTS) == columns_of(two, *INSTANTS)
    assert all(each.lease_until and each.started_at for each in (one, two))
    attempts = [Attempt.objects.get(pk=each.attempt_id) for each in (grouped, alone)]
    assert columns_of(attempts[0], "call_id", "started_at") == columns_of(attempts[1], "call_id", "started_at")
    assert grouped.call.team.team_id == alone.call.team.team_id
    assert abs(grouped.seconds_left - alone.seconds_left) < 5
    for name in ("job_id", "reply_to", "completes_job", "bound_input_tokens", "max_output_tokens", "claim", "route"):
        assert getattr(grouped.call, name) == getattr(alone.call, name)


def test_message_that_comes_twice_is_made_once(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    route = steps.take_route(monkeypatch, lambda _: steps.answer())
    job = steps.open_job(acme)
    calls = [str(steps.ask(acme, job, text).call_id) for text in ("one", "two")]

    first, second = execution._claim_many([calls, calls])
    assert (len(first), second) == (2, [])
    for one in first:
        execution._make(one)

    assert execution.run_calls(calls) == 0
    assert len(route.requests) == 2


def test_claim_that_was_lost_before_its_call_was_read_settles_nothing(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    """A process may stand still between taking a call and reading it, until the call is another worker's."""
    job = steps.open_job(acme)
    submitted = steps.ask(acme, job)
    read, others = execution.statements.CLAIMED_CALLS, []

    class Late:
        def all(self, **values: Any) -> Any:
            steps.at(steps.call_of(submitted), lease_until=-1)
            assert sweeper._take_over() == (1, 0)
            others.append(execution.claim(str(submitted.call_id)))
            return read.all(**values)

    monkeypatch.setattr(execution.statements, "CLAIMED_CALLS", Late())
    ((ours,),) = execution._claim_many([[str(submitted.call_id)]])

    assert ours.call.claim == 1
    assert lifecycle.end_calls([End(ours.call, served(response='"ours"'))]) == [False]
    assert lifecycle.end_calls([End(others[0].call, served(response='"theirs"'))]) == [True]
    assert CallPayload.objects.get(pk=submitted.call_id).response == '"theirs"'


def test_what_is_no_call_is_passed_over(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    route = steps.take_route(monkeypatch, lambda _: steps.answer())
    submitted = steps.ask(acme, steps.open_job(acme))

    ours = execution.run_calls(["01890000-0000-7000-8000-000000000000", str(submitted.call_id)])

    assert (ours, len(route.requests)) == (1, 1)


def test_call_that_was_claimed_before_is_taken_with_its_earlier_try_abandoned(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    steps.take_route(monkeypatch, lambda _: steps.answer())
    job = steps.open_job(acme)
    lost, new = steps.ask(acme, job, "lost"), steps.ask(acme, job, "new")
    execution.claim(str(lost.call_id))
    Call.objects.filter(pk=lost.call_id).update(state="queued", lease_until=None)

    assert execution.run_calls([str(lost.call_id), str(new.call_id)]) == 2

    assert list(Attempt.objects.filter(call=lost.call_id).values_list("claim", "state").order_by("claim")) == [
        (1, "abandoned"),
        (2, "succeeded"),
    ]


# --- Ends ---------------------------------------------------------------------------------------------------


def test_several_ends_of_several_jobs_are_counted(acme: make.Customer):
    one, two = steps.open_job(acme), steps.open_job(acme)
    first, second, third = claimed(acme, one, two, one)
    failed = Outcome(Call.State.FAILED, lost_cost_nanousd=5, error_code="provider_error", error_status=500)

    ended = lifecycle.end_calls(
        [End(first.call, served()), End(second.call, served()), End(third.call, failed)],
    )

    assert ended == [True, True, True]
    one, two = steps.fresh(one), steps.fresh(two)
    assert (one.open_calls, one.successful_calls, one.failed_calls, one.total_tokens) == (0, 1, 1, 10)
    assert (one.lost_cost_nanousd, one.open_bound_tokens, one.latency_total_ms) == (5, 0, 12)
    assert (two.open_calls, two.successful_calls, two.total_tokens) == (0, 1, 10)


def test_end_in_a_group_is_one_like_any_other(acme: make.Customer):
    jobs = [steps.open_job(acme, metadata={"a": 1}) for _ in range(2)]
    for job in jobs:
        steps.ask(acme, job, f"{job.pk}", fingerprint=f"{job.pk}", call_metadata={"b": [2, None, "ü"]})
    first, second = (
        execution._claim_together([str(call_id)])[0]
        for call_id in Call.objects.order_by("pk").values_list("pk", flat=True)
    )
    outcome = served(raw_usage='{"x": 1}', cost_nanousd=9, is_estimated=True, resolved_model="m", response='"ü\\n"')

    (other,) = claimed(acme, steps.open_job(acme))
    assert lifecycle.end_calls([End(other.call, served()), End(first.call, outcome)]) == [True, True]
    assert lifecycle.end_call(second.call.job_id, second.call.pk, outcome, claim=1, claimed=second.call)

    calls = [Call.objects.get(pk=each.call.pk) for each in (first, second)]
    assert columns_of(calls[0], "job_id", *INSTANTS) == columns_of(calls[1], "job_id", *INSTANTS)
    assert all(call.ended_at and call.lease_until is None for call in calls)
    attempts = [Attempt.objects.get(call=call) for call in calls]
    assert columns_of(attempts[0], "call_id", *INSTANTS) == columns_of(attempts[1], "call_id", *INSTANTS)
    payloads = [CallPayload.objects.get(pk=call.pk) for call in calls]
    assert [(each.response, each.expires_at is not None) for each in payloads] == [('"ü\\n"', True)] * 2
    ended = [steps.fresh(job) for job in jobs]
    leaving_out = ("active_at", "completed_at", *INSTANTS)
    assert columns_of(ended[0], *leaving_out) == columns_of(ended[1], *leaving_out)
    assert ended[0].metadata == {"a": 1, "b": [2, None, "ü"]}


def test_end_of_a_claim_that_was_lost_changes_nothing_and_the_others_stand(acme: make.Customer):
    job = steps.open_job(acme)
    lost, ours = claimed(acme, job, job)
    steps.at(Call.objects.get(pk=lost.call.pk), lease_until=-1)
    assert sweeper._take_over() == (1, 0)
    assert execution.claim(str(lost.call.pk)) is not None

    assert lifecycle.end_calls([End(lost.call, served()), End(ours.call, served())]) == [False, True]

    job = steps.fresh(job)
    assert (job.open_calls, job.successful_calls) == (1, 1)
    assert CallPayload.objects.get(pk=lost.call.pk).response == ""
    assert Attempt.objects.get(call=lost.call, claim=2).state == "running"


def test_two_claims_of_one_call_in_one_group_are_one_end(acme: make.Customer):
    """A worker that was taken for dead may be given its own call again, and then settles both tries at once."""
    job = steps.open_job(acme)
    (lost,) = claimed(acme, job)
    steps.at(Call.objects.get(pk=lost.call.pk), lease_until=-1)
    assert sweeper._take_over() == (1, 0)
    again = execution.claim(str(lost.call.pk))
    assert again is not None

    # Their outcomes may even be alike.
    ends = [End(lost.call, served()), End(again.call, served())]
    assert lifecycle.end_calls(ends) == [False, True]

    job = steps.fresh(job)
    assert (job.open_calls, job.successful_calls, job.total_tokens) == (0, 1, 10)
    assert list(Attempt.objects.order_by("claim").values_list("claim", "state")) == [
        (1, "abandoned"),
        (2, "succeeded"),
    ]


def test_second_end_of_a_call_changes_nothing(acme: make.Customer):
    job = steps.open_job(acme)
    (one,) = claimed(acme, job)

    assert lifecycle.end_calls([End(one.call, served())]) == [True]
    assert lifecycle.end_calls([End(one.call, served())]) == [False]
    assert steps.fresh(job).successful_calls == 1


def test_ends_that_move_money_and_those_of_locked_jobs_are_left_to_be_ended_alone(acme: make.Customer):
    metered = by_tokens()
    (of_metered,) = claimed(metered, steps.open_job(metered))
    one_call = steps.create_and_call(acme)
    (completing,) = execution._claim_together([str(one_call.call_id)])
    pending, locked, plain = (steps.open_job(acme) for _ in range(3))
    of_pending, of_locked, of_plain = claimed(acme, pending, locked, plain)
    steps.complete(acme, pending)
    ends = [End(each.call, served()) for each in (of_metered, completing, of_pending, of_locked, of_plain)]

    with locked_elsewhere(locked):
        assert lifecycle.end_calls(ends) == [None, None, None, None, True]

    assert steps.money(acme) == (100, 4)


def test_answer_that_the_database_refuses_spoils_no_other_of_its_group(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    end_calls, groups = lifecycle.end_calls, []

    def refuse(ends: Any) -> Any:
        groups.append(len(ends))
        if any("bad" in end.outcome.response for end in ends):
            raise DataError("a character that cannot be stored")
        return end_calls(ends)

    monkeypatch.setattr(lifecycle, "end_calls", refuse)
    job = steps.open_job(acme)
    good, bad = claimed(acme, job, job)
    with ThreadPoolExecutor(2) as pool:
        # Both are there before either is settled.
        execution._ends._is_busy = True
        settled = [
            pool.submit(settle_and_release, one.call, served(response=text))
            for one, text in ((good, '"good"'), (bad, '"bad"'))
        ]
        reached(lambda: len(execution._ends._waiting) == 2)
        execution._ends._waiting[0].wake.release()
        for each in settled:
            each.result()

    assert groups[0] == 2
    assert [CallPayload.objects.get(pk=one.call.pk).response for one in (good, bad)] == ['"good"', '"bad"']
    assert (steps.fresh(job).open_calls, steps.fresh(job).successful_calls) == (0, 2)


def settle_and_release(call: Call, outcome: Outcome) -> None:
    try:
        execution._settle(call, outcome, until=0)
    finally:
        connection.close()


def reached(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(10_000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("not reached")


def test_database_that_is_away_while_a_group_is_settled_is_met_by_each_alone(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    def refuse(_: Any) -> Any:
        raise OperationalError("the database is starting up")

    monkeypatch.setattr(lifecycle, "end_calls", refuse)
    route = steps.take_route(monkeypatch, lambda _: steps.answer())
    submitted = steps.ask(acme, steps.open_job(acme))

    steps.run(submitted)

    assert (steps.call_of(submitted).state, len(route.requests)) == ("succeeded", 1)


def test_settlement_whose_reply_was_lost_is_not_made_twice_and_its_caller_is_told(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    end_calls, told, lost = lifecycle.end_calls, [], []

    def lose_first_reply(ends: Any) -> Any:
        ended = end_calls(ends)
        if not lost:
            lost.append(1)
            raise OperationalError("server closed the connection unexpectedly")
        return ended

    monkeypatch.setattr(lifecycle, "end_calls", lose_first_reply)
    monkeypatch.setattr(replies, "send_many", lambda calls: told.extend(calls))
    job = steps.open_job(acme)
    submitted = steps.ask(acme, job, reply_to="web-7")

    steps.run(submitted)

    assert (steps.call_of(submitted).state, steps.fresh(job).successful_calls) == ("succeeded", 1)
    assert ("web-7", submitted.call_id) in told


def test_failed_try_is_settled_in_a_group_too(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    def fail(_: Any) -> Any:
        raise GatewayError("provider_error", "the model backend failed", status=500)

    steps.take_route(monkeypatch, fail)
    job = steps.open_job(acme)
    submitted = steps.ask(acme, job)

    steps.run(submitted)

    call = steps.call_of(submitted)
    assert (call.state, call.error_code, call.error_status) == ("failed", "provider_error", 500)
    assert steps.fresh(job).failed_calls == 1


def test_group_is_weighed_by_what_it_writes(acme: make.Customer):
    light, heavy = (wish(acme, steps.open_job(acme), text) for text in ("a", "b" * 1_000_000))
    assert group_admission._weight(heavy) - group_admission._weight(light) == 999_999
    (one,) = claimed(acme, steps.open_job(acme))
    assert execution._weight(End(one.call, served(response="\u00e9" * 1_000_000))) == 2_000_000
    assert group_admission._admissions._weigh is group_admission._weight
    assert execution._ends._weigh is execution._weight


# --- Streams ------------------------------------------------------------------------------------------------


def test_progress_of_streams_is_saved_without_waiting_for_one_that_ends(acme: make.Customer):
    ours = [marks.Progress(one.call.pk, one.call.claim, 7) for one in claimed(acme, *[steps.open_job(acme)] * 3)]
    tries = [Attempt.objects.get(call=each.call_id) for each in ours]

    with locked_elsewhere(tries[1]):
        marks._save(ours)
    assert [Attempt.objects.get(pk=each.pk).delivered_bytes for each in tries] == [7, 0, 7]

    # What was left out comes with the next round.
    marks._save([each for each in ours if each.delivered_bytes != each._saved_bytes])
    assert Attempt.objects.get(pk=tries[1].pk).delivered_bytes == 7


def test_progress_of_another_claim_is_not_overwritten_in_a_group(acme: make.Customer):
    first, second = claimed(acme, *[steps.open_job(acme)] * 2)
    marks._save([marks.Progress(first.call.pk, 2, 9), marks.Progress(second.call.pk, 1, 9)])
    assert Attempt.objects.get(call=first.call).delivered_bytes == 0
    assert Attempt.objects.get(call=second.call).delivered_bytes == 9


def test_callers_who_left_are_noted_without_waiting_for_a_call_that_ends(acme: make.Customer):
    calls = [one.call for one in claimed(acme, *[steps.open_job(acme)] * 3)]
    mailbox = replies.Mailbox()
    mailbox._owed = [str(call.pk) for call in calls]

    with locked_elsewhere(calls[1]):
        mailbox._pay()
    assert mailbox._owed == [str(calls[1].pk)]
    assert Call.objects.filter(unanswered_at__isnull=False).count() == 2

    mailbox._pay()
    assert (mailbox._owed, Call.objects.filter(unanswered_at__isnull=True).count()) == ([], 0)


# --- Answers ------------------------------------------------------------------------------------------------


def test_answer_is_its_own_team_s_and_job_s(acme: make.Customer, globex: make.Customer):
    job, other = under_way(acme), under_way(acme)
    call = Call.objects.get(job=job)

    found = services.find_answered(acme.team, str(job.pk), str(call.pk))
    with_job = services.find_answered(acme.team, str(job.pk), str(call.pk), with_job=True)

    assert (found.pk, found.state, found.payload.response) == (call.pk, "succeeded", call.payload.response)
    assert with_job.job.pk == job.pk
    for team, job_id in ((globex.team, job.pk), (acme.team, other.pk)):
        with pytest.raises(CallNotFound):
            services.find_answered(team, str(job_id), str(call.pk))
    with pytest.raises(CallNotFound):
        services.find_answered(acme.team, str(job.pk), "no uuid")


def test_streamed_call_is_its_own_team_s_and_job_s(acme: make.Customer, globex: make.Customer):
    job, other = under_way(acme), under_way(acme)
    call = Call.objects.get(job=job)

    found = services.find_streamed(acme.team, str(job.pk), str(call.pk))

    assert (found.pk, found.wait_until) == (call.pk, call.wait_until)
    # It is kept as long as its stream: without what was asked.
    assert {"payload", "candidates", "job"}.isdisjoint({*found.__dict__, *found._state.fields_cache})
    for team, job_id, call_id in (
        (globex.team, job.pk, call.pk),
        (acme.team, other.pk, call.pk),
        (acme.team, job.pk, job.pk),
        (acme.team, job.pk, "no uuid"),
    ):
        with pytest.raises(CallNotFound):
            services.find_streamed(team, str(job_id), str(call_id))


# --- The worker's places ------------------------------------------------------------------------------------


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], crew.Crew]:
    def make_crew(number: int) -> crew.Crew:
        made = crew.Crew(number)
        monkeypatch.setattr(crew, "of_this_process", lambda: made)
        return made

    return make_crew


def test_no_more_calls_are_made_at_once_than_there_are_places(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch, places: Callable[[int], crew.Crew]
):
    made = places(2)
    now, most, lock = 0, 0, threading.Lock()

    def count(_: Any) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.02)
        with lock:
            now -= 1
        return steps.answer()

    steps.take_route(monkeypatch, count)
    job = steps.open_job(acme)
    calls = [str(steps.ask(acme, job, f"call {number}").call_id) for number in range(6)]

    assert execution.run_calls(calls) == 6
    assert most <= 2
    assert made._free == 2


def test_place_is_given_back_when_the_database_is_away(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch, places: Callable[[int], crew.Crew]
):
    made = places(3)

    def refuse(_: Any) -> Any:
        raise OperationalError("away")

    monkeypatch.setattr(execution, "_claim_together", refuse)
    for calls in (["a"], ["a", "b"]):
        with pytest.raises(OperationalError):
            execution.run_calls(calls)

    assert made._free == 3
