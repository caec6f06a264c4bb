"""The sweeper, step by step: what is stuck is set going or ended, each run is bounded and may be repeated."""

from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import F

from apps.core import clock, idempotency
from apps.core.models import IdempotencyKey, Process
from apps.credits import ledger
from apps.credits.models import Entry, Hold
from apps.jobs import dispatch, execution, replies, services, sweeper
from apps.jobs.models import Attempt, Call, CallPayload, Job
from tests import make
from tests.jobs import steps

HOUR_S = 3_600


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids that were published, by a broker that takes them all."""
    ids: list[str] = []

    def take(call_ids: list[Any]) -> int:
        ids.extend(str(call_id) for call_id in call_ids)
        return len(call_ids)

    monkeypatch.setattr(dispatch, "publish", take)
    return ids


@pytest.fixture
def replied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    sent: list[tuple[str, Any]] = []
    monkeypatch.setattr(replies, "send", lambda to, call_id: sent.append((to, call_id)))
    return sent


@pytest.fixture
def settled_sweeper(db: None, settings: Any) -> None:
    """A sweeper that has been running for a while, so that it may judge leases."""
    settings.CALL_LEASE_S, settings.SWEEP_EVERY_S = 15, 2
    sweeper.run()
    Process.objects.filter(name=sweeper.NAME).update(started_at=clock.from_now(-HOUR_S))


def queued(customer: make.Customer, text: str = "one", **more: Any) -> Call:
    return steps.call_of(steps.ask(customer, steps.open_job(customer), text, **more))


def running(customer: make.Customer, text: str = "one", *, claim: int = 1, lease_left_s: float = -1) -> Call:
    """A call under its `claim`-th claim, whose worker has stopped renewing the lease."""
    call = queued(customer, text)
    Call.objects.filter(pk=call.pk).update(claim=claim - 1)
    assert execution.claim(str(call.pk)) is not None
    steps.at(call, lease_until=lease_left_s)
    return fresh(call)


def fresh(call: Call) -> Call:
    return Call.objects.select_related("job").get(pk=call.pk)


# --- Publishing ---------------------------------------------------------------------------------------------


def test_call_that_is_due_is_published_again(acme: make.Customer, published: list[str]):
    due, not_yet = queued(acme, "due"), queued(acme, "not yet")
    steps.at(due, next_publish_at=-1)

    assert sweeper._publish_due() == 1

    assert published == [str(due.pk)]
    assert (fresh(due).publishes, fresh(not_yet).publishes) == (1, 0)


def test_each_publish_waits_twice_as_long_up_to_a_minute(acme: make.Customer, published: list[str], settings: Any):
    settings.REPUBLISH_AFTER_S = 3
    call, waits = queued(acme), []
    for _ in range(7):
        steps.at(call, next_publish_at=-1)
        sweeper._publish_due()
        waits.append(round((fresh(call).next_publish_at - clock.db_now()).total_seconds()))

    assert waits == [6, 12, 24, 48, 60, 60, 60]


def test_only_queued_calls_are_published(acme: make.Customer, published: list[str]):
    at_work, ended = running(acme, "at work", lease_left_s=15), queued(acme, "ended")
    steps.run(services.Submitted(ended.job_id, ended.pk, is_new=True))
    Call.objects.update(next_publish_at=clock.from_now(-1))

    assert sweeper._publish_due() == 0
    assert published == []
    assert fresh(at_work).publishes == 0


def test_call_that_could_not_be_published_stays_due(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    call = queued(acme)
    steps.at(call, next_publish_at=-1)
    monkeypatch.setattr(dispatch, "publish", lambda _: 0)

    for _ in range(8):
        assert sweeper._publish_due() == 0

    assert fresh(call).publishes == 0
    assert fresh(call).next_publish_at <= clock.db_now()


def test_calls_that_a_broker_took_before_it_failed_are_not_due_again(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    calls = [queued(acme, str(index)) for index in range(3)]
    for index, call in enumerate(calls):
        steps.at(call, next_publish_at=index - 10)
    monkeypatch.setattr(dispatch, "publish", lambda _: 1)

    assert sweeper._publish_due() == 1

    assert [fresh(call).publishes for call in calls] == [1, 0, 0]
    assert [fresh(call).next_publish_at > clock.db_now() for call in calls] == [True, False, False]


# --- Taking over --------------------------------------------------------------------------------------------


def test_call_of_a_dead_worker_is_queued_again_under_its_claim(acme: make.Customer):
    call = running(acme)

    assert sweeper._take_over() == (1, 0)

    call = fresh(call)
    assert (call.state, call.claim, call.lease_until, call.publishes) == ("queued", 1, None, 0)
    assert call.next_publish_at <= clock.db_now()
    assert call.job.open_calls == 1


def test_call_whose_lease_holds_is_left_alone(acme: make.Customer):
    call = running(acme, lease_left_s=5)

    assert sweeper._take_over() == (0, 0)
    assert fresh(call).state == "running"


def test_call_claimed_too_often_fails_as_lost(acme: make.Customer, settings: Any, replied: list[tuple[str, Any]]):
    settings.CALL_MAX_CLAIMS = 3
    call = running(acme, claim=3)
    Call.objects.filter(pk=call.pk).update(reply_to="web-1")

    assert sweeper._take_over() == (0, 1)

    call = fresh(call)
    assert (call.state, call.error_code, call.error_status) == ("failed", "worker_lost", 503)
    assert call.error_message == "LLM call failed: the workers that made it were lost"
    assert (call.job.open_calls, call.job.failed_calls) == (0, 1)
    assert replied == [("web-1", call.pk)]


def test_last_try_of_a_lost_call_is_the_platform_s_cost(db: None, settings: Any):
    settings.CALL_MAX_CLAIMS = 1
    make.alias("priced", input_usd_per_mtok=1, output_usd_per_mtok=2)
    call = running(make.customer(credits=10, access_groups=["priced"]))

    assert sweeper._take_over() == (0, 1)

    attempt = Attempt.objects.get()
    assert (attempt.state, attempt.error_code, attempt.is_estimated) == ("failed", "worker_lost", True)
    assert fresh(call).job.lost_cost_nanousd == attempt.cost_nanousd > 0
    assert (fresh(call).prompt_tokens, fresh(call).provider_cost_nanousd) == (0, 0)


def test_taking_over_twice_changes_nothing_more(acme: make.Customer):
    call = running(acme)
    sweeper._take_over()
    before = Call.objects.values().get(pk=call.pk)

    assert sweeper._take_over() == (0, 0)
    assert Call.objects.values().get(pk=call.pk) == before


def test_call_taken_over_is_made_again_and_charged_once(acme: make.Customer, settled_sweeper: None):
    submitted = steps.create_and_call(acme)
    execution.claim(str(submitted.call_id))
    steps.at(steps.call_of(submitted), lease_until=-1)

    assert sweeper.run().taken_over == 1
    steps.run(submitted)

    assert steps.money(acme) == (99, 0)


# --- The gap rule -------------------------------------------------------------------------------------------


def test_new_sweeper_judges_no_lease_for_the_length_of_one(acme: make.Customer, settings: Any):
    settings.CALL_LEASE_S, settings.SWEEP_EVERY_S = 15, 2
    call = running(acme)

    assert sweeper.run().taken_over == 0
    Process.objects.filter(name=sweeper.NAME).update(started_at=clock.from_now(-14))
    assert sweeper.run().taken_over == 0
    assert fresh(call).state == "running"
    Process.objects.filter(name=sweeper.NAME).update(started_at=clock.from_now(-16))

    assert sweeper.run().taken_over == 1


def test_after_a_gap_in_its_runs_no_lease_is_judged_for_the_length_of_one(acme: make.Customer, settled_sweeper: None):
    running(acme)
    Process.objects.filter(name=sweeper.NAME).update(seen_at=clock.from_now(-11))

    assert sweeper.run().taken_over == 0
    assert sweeper.run().taken_over == 0
    Process.objects.filter(name=sweeper.NAME).update(started_at=clock.from_now(-16))

    assert sweeper.run().taken_over == 1


def test_pause_shorter_than_a_gap_delays_nothing(acme: make.Customer, settled_sweeper: None):
    running(acme)
    Process.objects.filter(name=sweeper.NAME).update(seen_at=clock.from_now(-9))

    assert sweeper.run().taken_over == 1


def test_gap_grows_with_the_time_between_runs(acme: make.Customer, settled_sweeper: None, settings: Any):
    settings.SWEEP_EVERY_S = 10
    running(acme)
    Process.objects.filter(name=sweeper.NAME).update(seen_at=clock.from_now(-29))

    assert sweeper.run().taken_over == 1


# --- Deadlines ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["queued", "running"])
def test_call_past_its_deadline_fails(acme: make.Customer, replied: list[tuple[str, Any]], state: str):
    call = queued(acme, reply_to="web-1") if state == "queued" else running(acme, lease_left_s=15)
    Call.objects.filter(pk=call.pk).update(reply_to="web-1")
    steps.at(call, deadline_at=-6)

    assert sweeper._fail_past_deadline() == 1

    call = fresh(call)
    assert (call.state, call.error_code, call.error_status, call.retry_after_s) == ("failed", "call_timeout", 503, 2)
    assert call.job.open_calls == 0
    assert replied == [("web-1", call.pk)]


def test_worker_has_a_moment_to_say_itself_that_time_is_over(acme: make.Customer):
    call = running(acme, lease_left_s=15)
    steps.at(call, deadline_at=-4)

    assert sweeper._fail_past_deadline() == 0
    assert fresh(call).state == "running"


def test_try_that_outlived_its_deadline_is_the_platform_s_cost(db: None):
    make.alias("priced", input_usd_per_mtok=1, output_usd_per_mtok=2)
    call = running(make.customer(credits=10, access_groups=["priced"]))
    steps.at(call, deadline_at=-6)

    sweeper._fail_past_deadline()

    assert fresh(call).job.lost_cost_nanousd == Attempt.objects.get().cost_nanousd > 0


def test_deadline_frees_a_job_that_waited_for_its_charge(acme: make.Customer):
    call = queued(acme)
    assert steps.complete(acme, call.job).charge_state == "pending"
    steps.at(call, deadline_at=-6)

    sweeper._fail_past_deadline()

    assert fresh(call).job.charge_state == "free"
    assert steps.money(acme) == (100, 0)


# --- Calls nobody waits for ---------------------------------------------------------------------------------


def test_call_that_nobody_took_while_its_caller_waited_expires(acme: make.Customer, replied: list[tuple[str, Any]]):
    call = queued(acme, reply_to="web-1")
    steps.at(call, wait_until=-1)

    assert sweeper._expire_unwaited() == 1

    call = fresh(call)
    assert (call.state, call.error_code, call.error_status) == ("expired", "call_expired", 503)
    assert call.error_message == "LLM call failed: no worker took it while the caller waited"
    assert (call.job.open_calls, call.job.failed_calls) == (0, 1)
    assert replied == [("web-1", call.pk)]


def test_call_that_is_waited_for_does_not_expire(acme: make.Customer):
    call = queued(acme)
    steps.at(call, wait_until=1)

    assert sweeper._expire_unwaited() == 0
    assert fresh(call).state == "queued"


def test_call_that_was_ever_claimed_does_not_expire(acme: make.Customer):
    call = running(acme)
    sweeper._take_over()
    steps.at(call, wait_until=-1)

    assert sweeper._expire_unwaited() == 0
    assert fresh(call).state == "queued"


def test_expiry_fails_a_one_call_job_and_gives_its_hold_back(acme: make.Customer):
    submitted = steps.create_and_call(acme)
    steps.at(steps.call_of(submitted), wait_until=-1)

    sweeper._expire_unwaited()

    assert steps.job_of(submitted).status == "failed"
    assert steps.money(acme) == (100, 0)


# --- Callers of dead web processes --------------------------------------------------------------------------


def web(name: str = "web-1", *, seen_s_ago: float = 21) -> Process:
    process = Process.objects.create(name=name, kind="web")
    steps.at(process, seen_at=-seen_s_ago)
    return process


def test_calls_of_a_dead_web_process_are_unanswered(acme: make.Customer):
    web()
    call, other = queued(acme, "one", reply_to="web-1"), queued(acme, "two", reply_to="web-2")

    assert sweeper._mark_callers_of_dead_processes() == 1

    assert fresh(call).unanswered_at is not None
    assert fresh(other).unanswered_at is None
    assert not Process.objects.filter(name="web-1").exists()


def test_calls_of_a_living_web_process_are_not(acme: make.Customer):
    web(seen_s_ago=15)
    call = queued(acme, reply_to="web-1")

    assert sweeper._mark_callers_of_dead_processes() == 0
    assert fresh(call).unanswered_at is None
    assert Process.objects.filter(name="web-1").exists()


@pytest.mark.parametrize(("ended_s_ago", "marked"), [(40, 0), (28, 0), (24, 1), (10, 1)])
def test_calls_that_ended_well_before_the_process_died_were_answered(
    acme: make.Customer, ended_s_ago: float, marked: int
):
    call = queued(acme, reply_to="web-1")
    steps.run(services.Submitted(call.job_id, call.pk, is_new=True))
    web(seen_s_ago=22)
    steps.at(call, ended_at=-ended_s_ago)

    assert sweeper._mark_callers_of_dead_processes() == marked


def test_calls_too_old_to_be_waited_for_are_not_looked_at(acme: make.Customer, settings: Any):
    settings.CALL_WAIT_MAX_S = 600
    call = queued(acme, reply_to="web-1")
    web(seen_s_ago=22)
    steps.at(call, created_at=-700)

    assert sweeper._mark_callers_of_dead_processes() == 0


def test_first_instant_at_which_a_caller_was_left_stands(acme: make.Customer):
    call = queued(acme, reply_to="web-1")
    steps.at(call, unanswered_at=-100)
    web()

    assert sweeper._mark_callers_of_dead_processes() == 0


def test_repeat_after_a_web_process_died_gets_the_same_call(acme: make.Customer, settled_sweeper: None):
    job = steps.open_job(acme)
    first = steps.ask(acme, job, reply_to="web-1")
    web()

    assert sweeper.run().unanswered == 1
    assert steps.ask(acme, job).call_id == first.call_id


def test_after_a_gap_nobody_is_taken_for_dead_who_could_not_say_that_he_lives(
    acme: make.Customer, settled_sweeper: None
):
    web()
    call = queued(acme, reply_to="web-1")
    Process.objects.filter(name=sweeper.NAME).update(seen_at=clock.from_now(-30))

    assert sweeper.run().unanswered == 0
    assert fresh(call).unanswered_at is None
    assert Process.objects.filter(name="web-1").exists()


# --- Abandoned jobs -----------------------------------------------------------------------------------------


@pytest.fixture
def abandoned_after_24h(settings: Any) -> None:
    settings.JOB_ABANDONED_AFTER_H = 24


@pytest.mark.usefixtures("abandoned_after_24h")
def test_abandoned_job_with_a_success_is_charged_as_completed(acme: make.Customer):
    job = steps.open_job(acme)
    steps.run(steps.ask(acme, job))
    steps.at(job, active_at=-25 * HOUR_S)

    assert sweeper._close_abandoned_jobs() == 1

    job = steps.fresh(job)
    assert (job.status, job.charge_state, job.closed_by, job.error_message) == (
        "completed",
        "charged",
        "sweeper",
        "",
    )
    assert steps.money(acme) == (99, 0)


@pytest.mark.usefixtures("abandoned_after_24h")
def test_abandoned_job_without_a_success_fails_and_costs_nothing(acme: make.Customer, monkeypatch: Any):
    from apps.jobs.gateway.interface import GatewayError

    def fail(_: Any) -> Any:
        raise GatewayError("provider_error", "x", status=500)

    steps.take_route(monkeypatch, fail)
    job, never_used = steps.open_job(acme), steps.open_job(acme)
    steps.run(steps.ask(acme, job))
    for each in (job, never_used):
        steps.at(each, active_at=-25 * HOUR_S)

    assert sweeper._close_abandoned_jobs() == 2

    for each in (job, never_used):
        closed = steps.fresh(each)
        assert (closed.status, closed.charge_state) == ("failed", "free")
        assert closed.error_message == "Abandoned: no activity"
    assert steps.money(acme) == (100, 0)


@pytest.mark.usefixtures("abandoned_after_24h")
def test_job_with_an_open_call_or_with_activity_is_not_abandoned(acme: make.Customer):
    with_call, active = steps.open_job(acme), steps.open_job(acme)
    steps.ask(acme, with_call)
    steps.at(with_call, active_at=-25 * HOUR_S)
    steps.at(active, active_at=-23 * HOUR_S)

    assert sweeper._close_abandoned_jobs() == 0
    assert {steps.fresh(with_call).status, steps.fresh(active).status} == {"in_progress", "pending"}


@pytest.mark.usefixtures("abandoned_after_24h")
def test_closed_job_is_not_closed_again(acme: make.Customer):
    job = steps.complete(acme, steps.open_job(acme))
    steps.at(job, active_at=-25 * HOUR_S)

    assert sweeper._close_abandoned_jobs() == 0
    assert steps.fresh(job).closed_by == "test"


@pytest.mark.usefixtures("abandoned_after_24h")
def test_metadata_keeps_a_job_from_being_abandoned(acme: make.Customer):
    job = steps.open_job(acme)
    steps.at(job, active_at=-25 * HOUR_S)
    services.merge_metadata(acme.team, job_id=str(job.pk), metadata={"a": 1})

    assert sweeper._close_abandoned_jobs() == 0


# --- Holds, payloads, keys ----------------------------------------------------------------------------------


def orphan(customer: make.Customer, job: str, *, age_h: float) -> Hold:
    hold = ledger.hold(customer.team, job=job, amount_micros=1_000_000)
    steps.at(hold, opened_at=-age_h * HOUR_S)
    return hold


@pytest.mark.usefixtures("abandoned_after_24h")
def test_old_hold_without_a_job_is_released(acme: make.Customer):
    orphan(acme, "00000000-0000-0000-0000-000000000000", age_h=49)

    assert sweeper._release_orphaned_holds() == 1
    assert steps.money(acme) == (100, 0)
    assert sweeper._release_orphaned_holds() == 0


@pytest.mark.usefixtures("abandoned_after_24h")
def test_old_hold_of_a_job_that_owes_nothing_is_released(acme: make.Customer):
    job = steps.complete(acme, steps.open_job(acme))
    orphan(acme, str(job.pk), age_h=49)

    assert sweeper._release_orphaned_holds() == 1
    assert steps.money(acme) == (100, 0)


@pytest.mark.usefixtures("abandoned_after_24h")
def test_old_hold_of_a_job_at_work_stays(acme: make.Customer):
    call = queued(acme)
    steps.at(Hold.objects.get(), opened_at=-49 * HOUR_S)

    assert sweeper._release_orphaned_holds() == 0
    assert steps.money(acme) == (100, 1)
    assert fresh(call).job.held_micros == 1_000_000


@pytest.mark.usefixtures("abandoned_after_24h")
def test_young_hold_is_left_to_whoever_opened_it(acme: make.Customer):
    hold = orphan(acme, "00000000-0000-0000-0000-000000000000", age_h=47)

    assert sweeper._release_orphaned_holds() == 0
    ledger.release(job=hold.job)


@pytest.mark.usefixtures("abandoned_after_24h")
def test_hold_under_a_name_that_is_no_id_stops_nothing(acme: make.Customer):
    orphan(acme, "no job of ours", age_h=50)
    orphan(acme, "00000000-0000-0000-0000-000000000000", age_h=49)

    assert sweeper._release_orphaned_holds() == 2
    assert steps.money(acme) == (100, 0)


def test_payload_past_its_retention_is_forgotten_and_the_call_stays(acme: make.Customer):
    from apps.api import present

    call, kept = queued(acme, "old"), queued(acme, "young")
    for each in (call, kept):
        steps.run(services.Submitted(each.job_id, each.pk, is_new=True))
    steps.at(CallPayload.objects.get(pk=call.pk), expires_at=-1)

    assert sweeper._forget_payloads() == 1

    answer = present.answer(services.find_call(acme.team, str(call.job_id), str(call.pk)))
    assert (answer["content_expired"], answer["response"]["content"], answer["choices"]) == (True, "", [])
    assert answer["usage"]["total_tokens"] == fresh(call).total_tokens > 0
    assert answer["model"] == "chat-default"
    other = present.answer(services.find_call(acme.team, str(kept.job_id), str(kept.pk)))
    assert "content_expired" not in other


def test_payload_of_an_open_call_is_never_forgotten(acme: make.Customer):
    queued(acme)

    assert sweeper._forget_payloads() == 0
    assert CallPayload.objects.count() == 1


def test_repeat_of_a_call_whose_payload_is_gone_is_still_a_repeat(acme: make.Customer):
    key = idempotency.Request("team:acme", "k", "f")
    job = steps.open_job(acme)
    first = steps.ask(acme, job, idempotent=key)
    steps.run(first)
    CallPayload.objects.all().delete()

    assert str(steps.ask(acme, job, idempotent=key).call_id) == str(first.call_id)


def test_idempotency_keys_are_forgotten_after_their_window(acme: make.Customer, settings: Any):
    settings.PAYLOAD_RETENTION_H = 24
    job = steps.open_job(acme)
    for name in ("old", "young"):
        steps.ask(acme, job, name, idempotent=idempotency.Request("team:acme", name, name))
    IdempotencyKey.objects.filter(key="old").update(created_at=clock.from_now(-25 * HOUR_S))

    assert sweeper.run().forgotten == 1
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["young"]


# --- The whole run ------------------------------------------------------------------------------------------


def everything_stuck(customer: make.Customer) -> None:
    """One of each kind."""
    steps.at(queued(customer, "due"), next_publish_at=-1)
    running(customer, "dead worker")
    steps.at(queued(customer, "late"), deadline_at=-6)
    steps.at(queued(customer, "unwaited"), wait_until=-1)
    queued(customer, "unanswered", reply_to="web-1")
    web()
    abandoned = steps.open_job(customer)
    steps.run(steps.ask(customer, abandoned, "abandoned"))
    steps.at(abandoned, active_at=-25 * HOUR_S)
    orphan(customer, "00000000-0000-0000-0000-000000000000", age_h=49)
    steps.at(CallPayload.objects.get(call__job=abandoned), expires_at=-1)


@pytest.mark.usefixtures("abandoned_after_24h", "settled_sweeper")
def test_one_run_does_all_of_it_and_the_next_finds_nothing(acme: make.Customer, published: list[str]):
    everything_stuck(acme)

    swept = sweeper.run()
    again = sweeper.run()

    # The call that was taken over is published in the same run.
    assert (swept.published, swept.taken_over, swept.failed, swept.expired) == (2, 1, 1, 1)
    assert (swept.unanswered, swept.jobs_closed, swept.holds_released, swept.forgotten) == (1, 1, 1, 1)
    assert again == sweeper.Swept()
    assert Entry.objects.filter(kind=Entry.Kind.CHARGE).count() == 1


@pytest.mark.usefixtures("abandoned_after_24h", "settled_sweeper")
def test_run_is_bounded_and_the_rest_is_for_the_next(
    acme: make.Customer, published: list[str], monkeypatch: pytest.MonkeyPatch
):
    for _ in range(3):
        Process.objects.filter(kind="web").delete()
        everything_stuck(acme)
        Hold.objects.filter(job__startswith="00000000").update(job=F("id"))
    monkeypatch.setattr(sweeper, "BATCH", 2)

    swept, second = sweeper.run(), sweeper.run()

    for name in ("published", "taken_over", "failed", "expired", "jobs_closed", "holds_released", "forgotten"):
        assert getattr(swept, name) == 2, name
    assert (second.taken_over, second.failed, second.expired, second.jobs_closed) == (1, 1, 1, 1)


def test_run_on_an_empty_database_does_nothing(db: None):
    assert sweeper.run() == sweeper.Swept()


@pytest.mark.usefixtures("settled_sweeper")
def test_sweep_command_says_what_it_did(acme: make.Customer, capsys: pytest.CaptureFixture[str]):
    steps.at(queued(acme), deadline_at=-6)

    call_command("sweep")

    assert capsys.readouterr().out.strip() == (
        "published 0, taken over 0, failed 1, expired 0, unanswered 0, jobs closed 0,"
        " holds released 0, payloads and keys forgotten 0, grants posted 0, blocks sealed 0, accounts expired 0"
    )
    assert Job.objects.get().failed_calls == 1
