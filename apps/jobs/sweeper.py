"""Nothing stays stuck: publishes what is due again, takes over expired leases, fails and expires calls, closes
abandoned and late jobs, releases holds, forgets old payloads. Bounded per run, safe to run twice, judged by the
database's clock."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Now

from apps.core import clock, idempotency
from apps.core.db import is_postgresql, release_connection
from apps.core.ids import first_id_at, parse_uuid
from apps.core.models import Process
from apps.core.processes import DEAD_AFTER_S
from apps.credits import allowances, ledger, sealing
from apps.credits.models import Hold
from apps.jobs import dispatch, lifecycle, metering, replies
from apps.jobs.lifecycle import Outcome
from apps.jobs.models import Attempt, Call, CallPayload, Job
from apps.limits import decisions
from apps.payments import charging, topups

BATCH = 200
NAME = "sweeper"
_REPUBLISH_AT_MOST_S = 60.0
# Sealing looks at every account, so not each sweep does it.
_SEAL_EVERY_S = 60.0

# The last account that was looked at for expired credits; none after a whole round.
_progress: dict[str, int | None] = {"expiry": None}

log = logging.getLogger("saasllm.sweeper")


@dataclass(slots=True)
class Swept:
    """What one run did."""

    published: int = 0
    taken_over: int = 0
    failed: int = 0
    expired: int = 0
    unanswered: int = 0
    jobs_closed: int = 0
    holds_released: int = 0
    credits_expired: int = 0
    forgotten: int = 0
    granted: int = 0
    topped_up: int = 0
    sealed: int = 0
    details: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"published {self.published}, taken over {self.taken_over}, failed {self.failed},"
            f" expired {self.expired}, unanswered {self.unanswered}, jobs closed {self.jobs_closed},"
            f" holds released {self.holds_released}, payloads and keys forgotten {self.forgotten},"
            f" grants posted {self.granted}, top-ups begun {self.topped_up}, blocks sealed {self.sealed},"
            f" accounts expired {self.credits_expired}"
        )


def run_forever() -> None:
    """A sweep every SWEEP_EVERY_S, in a thread of beat or of the serving process.

    Not by a worker: while all its threads are busy, or Redis is away, nothing would be swept.
    """
    pause = threading.Event()
    while True:
        try:
            run()
        except (DatabaseError, InterfaceError) as error:
            log.warning("sweep failed: %s", type(error).__name__)
        except Exception:
            # A defect met by one run must not end all of them.
            log.exception("sweep failed")
        finally:
            release_connection()
        pause.wait(settings.SWEEP_EVERY_S)


def run() -> Swept:
    """One sweep."""
    swept = Swept()
    may_judge = _note_run()
    swept.failed += _fail_past_deadline()
    swept.expired += _expire_unwaited()
    if may_judge:
        swept.taken_over, lost = _take_over()
        swept.failed += lost
        swept.unanswered += _mark_callers_of_dead_processes()
    swept.published += _publish_due()
    swept.jobs_closed += _close_jobs_past_deadline()
    swept.jobs_closed += _close_abandoned_jobs()
    swept.holds_released += _release_orphaned_holds()
    swept.credits_expired += _expire_credits()
    swept.forgotten += _forget_payloads()
    swept.forgotten += decisions.purge(timedelta(days=settings.DECISION_RETENTION_DAYS), limit=BATCH)
    swept.forgotten += idempotency.purge(timedelta(hours=settings.PAYLOAD_RETENTION_H), limit=BATCH)
    swept.granted += allowances.post_scheduled() + allowances.refill_due()
    charging.give_up()
    swept.topped_up += topups.open_due()
    charging.submit_in_background()
    swept.sealed += _seal()
    if any((swept.taken_over, swept.failed, swept.expired, swept.jobs_closed, swept.holds_released)):
        log.warning("swept: %s", swept)
    return swept


_sealed_at: float | None = None


def _seal() -> int:
    """Seal the ledger's entries that are due, at most every _SEAL_EVERY_S of this process."""
    global _sealed_at
    if _sealed_at is not None and time.monotonic() - _sealed_at < _SEAL_EVERY_S:
        return 0
    _sealed_at = time.monotonic()
    return sealing.seal_due()


def _note_run() -> bool:
    """Note this run; whether leases and heartbeats may be judged.

    After a gap in its own runs (the database was away, so nobody could renew) the sweeper waits one lease before
    it takes anything over: else a restart of PostgreSQL would make every running call be paid twice, and every
    waiting caller count as gone.
    """
    with transaction.atomic():
        Process.objects.get_or_create(name=NAME, defaults={"kind": "sweeper"})
        row = Process.objects.select_for_update().annotate(asked_at=Now()).get(name=NAME)
        gap_s = max(10.0, 3 * settings.SWEEP_EVERY_S)
        if (row.asked_at - row.seen_at).total_seconds() > gap_s:
            row.started_at = row.asked_at
        row.seen_at = row.asked_at
        row.save(update_fields=["started_at", "seen_at"])
        return bool((row.asked_at - row.started_at).total_seconds() >= settings.CALL_LEASE_S)


def _locked_for_us() -> QuerySet[Call]:
    """Calls locked by this run alone: what another run or a worker holds is left to it."""
    return Call.objects.select_for_update(skip_locked=is_postgresql())


def _publish_due() -> int:
    """Publish queued calls whose message may be lost; each waits twice as long as before for its next turn."""
    with transaction.atomic():
        due = list(
            _locked_for_us()
            .filter(state=Call.State.QUEUED, next_publish_at__lte=Now())
            .order_by("next_publish_at")
            .only("pk", "publishes")[:BATCH]
        )
        for publishes in {call.publishes for call in due}:
            after_s = min(settings.REPUBLISH_AFTER_S * 2 ** min(publishes + 1, 10), _REPUBLISH_AT_MOST_S)
            Call.objects.filter(pk__in=[call.pk for call in due if call.publishes == publishes]).update(
                publishes=F("publishes") + 1, next_publish_at=clock.from_now(after_s)
            )
    published = dispatch.publish([call.pk for call in due])
    # What no broker took has had no turn: it goes out as soon as one is back, however long that takes.
    Call.objects.filter(
        pk__in=[call.pk for call in due[published:]], state=Call.State.QUEUED, publishes__gt=0
    ).update(publishes=F("publishes") - 1, next_publish_at=Now())
    return published


def _take_over() -> tuple[int, int]:
    """Put calls whose worker stopped renewing back into the queue; fail those claimed too often."""
    expired = Call.objects.filter(state=Call.State.RUNNING, lease_until__lt=Now())
    lost = 0
    # Of a stream its caller has had a part: nobody can begin that answer anew.
    begun = Attempt.objects.filter(call=OuterRef("pk"), claim=OuterRef("claim"), delivered_bytes__gt=0)
    for call in list(expired.filter(Exists(begun), is_streamed=True)[:BATCH]):
        lost += _end(call, Call.State.FAILED, "worker_lost", "LLM call failed: the worker that made it was lost", 503)
    for call in list(expired.filter(claim__gte=settings.CALL_MAX_CLAIMS)[:BATCH]):
        lost += _end(
            call, Call.State.FAILED, "worker_lost", "LLM call failed: the workers that made it were lost", 503
        )
    with transaction.atomic():
        ids = list(
            _locked_for_us()
            .filter(state=Call.State.RUNNING, lease_until__lt=Now(), claim__lt=settings.CALL_MAX_CLAIMS)
            .exclude(Exists(begun), is_streamed=True)
            .order_by("pk")
            .values_list("pk", flat=True)[:BATCH]
        )
        # The claim number stays: until somebody claims it anew, the old worker's late answer may still settle.
        Call.objects.filter(pk__in=ids, state=Call.State.RUNNING).update(
            state=Call.State.QUEUED, lease_until=None, next_publish_at=Now(), publishes=0
        )
    return len(ids), lost


def _fail_past_deadline() -> int:
    """A worker's own timeout ends its call at the deadline; the grace lets it say so itself."""
    late = Call.objects.filter(state__in=Call.OPEN_STATES, deadline_at__lt=clock.from_now(-5))
    return sum(
        _end(
            call,
            Call.State.FAILED,
            "call_timeout",
            "LLM call failed: it was not done before its deadline",
            503,
        )
        for call in late[:BATCH]
    )


def _expire_unwaited() -> int:
    """Calls that nobody took while somebody waited, and for which nobody waits now."""
    unwaited = Call.objects.filter(state=Call.State.QUEUED, claim=0, wait_until__lt=Now())
    return sum(
        _end(
            call,
            Call.State.EXPIRED,
            "call_expired",
            "LLM call failed: no worker took it while the caller waited",
            503,
        )
        for call in unwaited[:BATCH]
    )


def _end(call: Call, state: Call.State, code: str, message: str, status: int) -> int:
    lost_nanousd = prompt = output = cost_nanousd = delivered_bytes = 0
    if call.claim:
        # Of its last try nobody will hear. One payload at a time: they may be large.
        request = CallPayload.objects.values_list("request", flat=True).get(pk=call.pk)
        delivered_bytes = _delivered_bytes(call) if call.is_streamed else 0
        if delivered_bytes:
            prompt, output, cost_nanousd = metering.delivered_usage(call, request, delivered_bytes)
        else:
            lost_nanousd = metering.lost_cost_nanousd(call, request)
    outcome = Outcome(
        state,
        prompt_tokens=prompt,
        completion_tokens=output,
        cost_nanousd=cost_nanousd,
        lost_cost_nanousd=lost_nanousd,
        is_estimated=call.claim > 0,
        is_delivered=delivered_bytes > 0,
        error_code=code,
        error_status=status,
        error_message=message,
        retry_after_s=2,
    )
    with _others_go_on("call", call.pk):
        if lifecycle.end_call(call.job_id, call.pk, outcome, claim=call.claim):
            replies.send(call.reply_to, call.pk)
            return 1
    return 0


def _delivered_bytes(call: Call) -> int:
    """What of a stream was sent on by the last account of the worker that had it."""
    newest = Attempt.objects.filter(call=call, claim=call.claim).values_list("delivered_bytes", flat=True).first()
    return newest or 0


@contextmanager
def _others_go_on(kind: str, pk: Any) -> Iterator[None]:
    """Leave a row alone that the database refuses to have changed: one damaged row must not stop all sweeping.

    A database that is away is no row's fault; that ends the run.
    """
    try:
        yield
    except OperationalError:
        raise
    except DatabaseError as error:
        log.error("%s %s cannot be swept: %s", kind, pk, type(error).__name__)


def _mark_callers_of_dead_processes() -> int:
    """A view is not told that its client left, and a dead process tells nobody: its callers got no answer."""
    marked = 0
    dead = Process.objects.filter(kind="web", seen_at__lt=clock.from_now(-DEAD_AFTER_S))
    for process in dead[:20]:
        # What ended well before it died was answered; in between, a repeat of the request gets the same answer.
        began = process.seen_at - timedelta(seconds=settings.CALL_WAIT_MAX_S)
        with transaction.atomic():
            waited_for = Call.objects.filter(
                # Ids are in the order of time: with a minute for clocks that differ, this finds them by the key.
                pk__gte=first_id_at(began - timedelta(minutes=1)),
                created_at__gt=began,
                reply_to=process.name,
                unanswered_at__isnull=True,
            ).exclude(ended_at__lt=process.seen_at - timedelta(seconds=replies.HEARTBEAT_S))
            ids = (
                waited_for.select_for_update(skip_locked=is_postgresql()).order_by("pk").values_list("pk", flat=True)
            )
            marked += Call.objects.filter(pk__in=list(ids)).update(unanswered_at=Now())
            # One that was locked just then, by its worker's settlement, is for the next run.
            if not waited_for.exists():
                process.delete()
    return marked


def _close_abandoned_jobs() -> int:
    """Jobs without activity."""
    stale = Job.objects.filter(
        status__in=Job.OPEN_STATUSES,
        open_calls=0,
        active_at__lt=clock.from_now(-settings.JOB_ABANDONED_AFTER_H * 3600),
    )
    return _close_jobs(stale.order_by("active_at"), by=lifecycle.CLOSED_BY_SWEEPER, why="Abandoned: no activity")


def _close_jobs_past_deadline() -> int:
    """Jobs that take no more calls, once their open ones have ended."""
    late = Job.objects.filter(status__in=Job.OPEN_STATUSES, open_calls=0, deadline_at__lte=Now())
    return _close_jobs(late.order_by("deadline_at"), by=lifecycle.CLOSED_BY_DEADLINE, why="Its deadline has passed")


def _close_jobs(due: "QuerySet[Job, Job]", *, by: str, why: str) -> int:
    """Charged as completed if a call succeeded (else never completing would be free), unless their card says that
    abandoned ones are free; released if none did."""
    closed = 0
    for job_id in list(due.values_list("pk", flat=True)[:BATCH]):
        with _others_go_on("job", job_id), transaction.atomic():
            # Judged again under its lock; one that is locked just now is at work, and is for the next run.
            locked = due.select_for_update(skip_locked=is_postgresql(), of=("self",)).select_related("team")
            job = locked.filter(pk=job_id).first()
            if job is None:
                continue
            is_served = job.successful_calls > 0
            lifecycle.close_job(
                job,
                Job.Status.COMPLETED if is_served else Job.Status.FAILED,
                closed_by=by,
                error_message=None if is_served else why,
            )
            closed += 1
    return closed


def _release_orphaned_holds() -> int:
    """Old holds of jobs that owe nothing more. There should be none: each is a bug that was survived.

    Younger ones belong to jobs at work; `ledger_verify` compares those with their jobs.
    """
    released = 0
    old = Hold.objects.filter(
        state=Hold.State.OPEN, opened_at__lt=clock.from_now(-2 * settings.JOB_ABANDONED_AFTER_H * 3600)
    )
    for hold in old.order_by("opened_at")[:BATCH]:
        with _others_go_on("hold", hold.pk), transaction.atomic():
            job_id = parse_uuid(hold.job)
            job = Job.objects.select_for_update().filter(pk=job_id).first() if job_id else None
            if job is not None and job.charge_state not in (Job.ChargeState.CHARGED, Job.ChargeState.FREE):
                continue
            if ledger.release(job=hold.job):
                log.error("released an orphaned hold of job %s", hold.job)
                released += 1
    return released


def _expire_credits() -> int:
    """Post what has expired of wallets and pools; holds wait for nobody to do so. Each run goes on where the one
    before ended: what an open hold keeps of an expired lot is looked at again and again, and must not be all."""
    posted, _progress["expiry"] = ledger.expire_due(after=_progress["expiry"] or 0, limit=BATCH)
    return posted


def _forget_payloads() -> int:
    """Delete texts whose time is over, except those that their organization keeps longer: they are looked at again
    when that is over, at the latest after a day, so that a shorter retention holds soon."""
    due = CallPayload.objects.filter(expires_at__lt=Now()).order_by("expires_at")
    rows = due.values_list(
        "pk", "call__ended_at", "call__organization__stores_content", "call__organization__content_retention_h"
    )
    now, kept, over = clock.db_now(), [], []
    for pk, ended_at, stores_content, retention_h in rows[:BATCH]:
        until = ended_at + timedelta(hours=retention_h) if stores_content and retention_h and ended_at else now
        if until > now:
            kept.append(CallPayload(pk=pk, expires_at=min(until, now + timedelta(days=1))))
        else:
            over.append(pk)
    if kept:
        CallPayload.objects.bulk_update(kept, ["expires_at"])
    return CallPayload.objects.filter(pk__in=over).delete()[0]
