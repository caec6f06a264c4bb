"""The worker's side: claim a call, ask the gateway, settle. No connection is held while the provider works.

A claim's number fences: who lost its lease settles nothing. See docs/architecture.md, "The call path".
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, transaction
from django.db.models.functions import Now

from apps.core.combining import Combiner
from apps.core.db import is_postgresql, release_connection
from apps.core.ids import parse_uuid
from apps.jobs import bounds, crew, leases, lifecycle, metering, replies, statements
from apps.jobs.asking import Claimed, ask, failed
from apps.jobs.gateway import failures
from apps.jobs.lifecycle import Outcome
from apps.jobs.models import Attempt, Call, Job

log = logging.getLogger("saasllm.execution")


def run_calls(call_ids: Sequence[str]) -> int:
    """Make those of these calls that are still to be made, at the same time. Returns how many were ours.

    Within WORKER_CALLS_MAX: what is beyond waits here, unclaimed, so that the sweeper can announce it to another
    worker.
    """
    ours = crew.of_this_process()
    if len(call_ids) == 1:
        # The usual message, and this thread is as good as any.
        ours.take(1)
        with ours.place():
            return 1 if run_call(call_ids[0]) else 0
    futures: list[Future[None]] = []
    waiting = list(call_ids)
    while waiting:
        taken = ours.take(len(waiting))
        claimed: list[Claimed] = []
        try:
            claimed = _claim_together(waiting[:taken])
        finally:
            # This thread now waits for the others: with its connection kept, they might find none to settle with.
            release_connection()
            ours.give_back(taken - len(claimed))
        waiting = waiting[taken:]
        futures += [ours.run(_make, one) for one in claimed]
    for future in futures:
        future.result()
    return len(futures)


def run_call(call_id: str) -> bool:
    """Make a call if it is still to be made. False when somebody else has it or it has ended."""
    claimed = _claim_together([call_id])
    for one in claimed:
        _make(one)
    return bool(claimed)


def _make(claimed: Claimed) -> None:
    call = claimed.call
    with leases.kept(call.pk):
        metering.prepare(call)
        release_connection()
        started = time.monotonic()
        try:
            outcome = ask(claimed)
        except Exception:
            # Of ours, or of an answer that nobody thought of: made again it would only meet the same.
            log.exception("call %s failed by a defect", call.pk)
            outcome = failed(call, failures.malformed(), started)
        _settle(call, outcome, until=started + claimed.seconds_left)


def _claim_many(messages: Sequence[Sequence[str]]) -> list[list[Claimed]]:
    """Take what can be taken of the calls of several messages; each message's own are given to it."""
    ids = [parsed for parsed in map(parse_uuid, dict.fromkeys(chain(*messages))) if parsed is not None]
    attempts = {call_id: Attempt(call_id=call_id, claim=1, worker=leases.worker_name()) for call_id in ids}
    ours = statements.claim_many(list(attempts.values()), lease=timedelta(seconds=settings.CALL_LEASE_S))
    found = {call.pk: call for call in statements.CLAIMED_CALLS.all(ids=ours)} if ours else {}
    for call in found.values():
        # Ours is the claim that was written, whatever the row says by now: between the two statements this process
        # may have stood still until its lease was another's.
        call.claim = attempts[call.pk].claim
    # A message that came twice is the first one's.
    return [
        [
            _claimed(call, attempts[call.pk].pk)
            for call in (found.pop(parsed, None) for parsed in map(parse_uuid, message) if parsed is not None)
            if call is not None
        ]
        for message in messages
    ]


_claims: Combiner[Sequence[str], list[Claimed]] = Combiner(_claim_many, most=16)


def _claim_together(call_ids: Sequence[str]) -> list[Claimed]:
    """Claim these calls, together with those of other threads. Those claimed before are taken one by one."""
    claimed = _claims(call_ids) if is_postgresql() else []
    ours = {str(one.call.pk) for one in claimed}
    rest = [claim(call_id) for call_id in call_ids if call_id not in ours]
    return claimed + [one for one in rest if one is not None]


def _claimed(call: Call, attempt_id: Any) -> Claimed:
    asked_at: datetime = getattr(call, "asked_at")  # noqa: B009  (an annotation, unknown to the model)
    return Claimed(call, attempt_id, max(1.0, (call.deadline_at - asked_at).total_seconds()))


def claim(call_id: str) -> Claimed | None:
    """Take a queued call by a guarded UPDATE with the next claim number, and write the attempt before the try.

    The attempt stands only together with the claim: when the guard fails both are rolled back.
    """
    with transaction.atomic():
        call = statements.CLAIMABLE_CALL.first(id=call_id)
        if call is None:
            return None
        if call.claim:
            # What its earlier try may have cost is counted on the job: job before call, as everywhere.
            _abandon_earlier(lifecycle.lock_job(call.job_id), call)
        attempt = Attempt(
            call=call,
            claim=call.claim + 1,
            route=call.route,
            provider_model=call.provider_model,
            worker=leases.worker_name(),
        )
        if not statements.claim(call, attempt, lease=timedelta(seconds=settings.CALL_LEASE_S)):
            transaction.set_rollback(True)
            return None
    call.claim = attempt.claim
    return _claimed(call, attempt.pk)


def _abandon_earlier(job: Job, call: Call) -> None:
    """An earlier claim's try may have cost something: estimated, at the platform's cost."""
    prompt = bounds.estimated_tokens(len(call.payload.request.encode()))
    cost = metering.lost_cost_nanousd(call, call.payload.request)
    abandoned = Attempt.objects.filter(call=call, state=Attempt.State.RUNNING).update(
        state=Attempt.State.ABANDONED,
        ended_at=Now(),
        prompt_tokens=prompt,
        cost_nanousd=cost,
        is_estimated=True,
        error_code="worker_lost",
    )
    lifecycle.add_lost_cost(job, cost, tries=abandoned)


def _unsettled(outcome: Outcome) -> Outcome:
    """What becomes of an answer that the database will not take."""
    return Outcome(
        Call.State.FAILED,
        lost_cost_nanousd=outcome.cost_nanousd,
        is_estimated=outcome.is_estimated,
        usage_mismatch=outcome.usage_mismatch,
        latency_ms=outcome.latency_ms,
        error_code="provider_malformed",
        error_status=500,
        error_message="LLM call failed: the model backend's answer cannot be kept",
    )


def _end_many(ends: Sequence[lifecycle.End]) -> list[bool | None]:
    """End what can be ended together, and tell who waits for it once that is committed."""
    ended = lifecycle.end_calls(ends)
    release_connection()
    replies.send_many([(end.call.reply_to, end.call.pk) for end, is_ours in zip(ends, ended, strict=True) if is_ours])
    return ended


def _weight(end: lifecycle.End) -> int:
    text = end.outcome.response
    return len(text) if text.isascii() else len(text.encode())


_ends: Combiner[lifecycle.End, bool | None] = Combiner(_end_many, most=64, weigh=_weight)


def _settle(call: Call, outcome: Outcome, *, until: float) -> None:
    """Record the outcome and tell who waits for it: together with what other threads settle, where that may be.

    Whatever goes wrong then is met alone, where it can be judged.
    """
    ended: bool | None = None
    if is_postgresql():
        try:
            ended = _ends(lifecycle.End(call, outcome))
        except (DatabaseError, InterfaceError) as error:
            log.info("settling call %s with others failed: %s", call.pk, type(error).__name__)
            release_connection()
    if ended is None:
        _settle_alone(call, outcome, until=until)
        release_connection()
        replies.send(call.reply_to, call.pk)
    elif not ended:
        log.warning("call %s claim %d: ended by another claim", call.pk, call.claim)
        # Or by this one, in a commit whose reply was lost: nobody was told then.
        replies.send(call.reply_to, call.pk)


def _settle_alone(call: Call, outcome: Outcome, *, until: float) -> None:
    """Record the outcome, trying again while the database refuses: the provider has already been paid.

    Ends when it is committed, when another claim holds the call, or at the call's deadline.
    """
    pause = threading.Event()
    wait_s = 0.1
    while True:
        try:
            if not lifecycle.end_call(call.job_id, call.pk, outcome, claim=call.claim, claimed=call):
                log.warning("call %s claim %d: ended by another claim", call.pk, call.claim)
            return
        except (DataError, IntegrityError) as error:
            # Never to be stored, however often it is tried: the call fails, and its cost is ours.
            log.error("call %s cannot be settled: %s", call.pk, type(error).__name__)
            if outcome.state == Call.State.FAILED:
                return
            outcome = _unsettled(outcome)
            continue
        except (DatabaseError, InterfaceError) as error:
            # A commit whose reply was lost is seen on the next try: the call is no longer open.
            log.warning("settling call %s failed, trying again: %s", call.pk, type(error).__name__)
            release_connection()
            if time.monotonic() > until:
                return
        pause.wait(wait_s)
        wait_s = min(wait_s * 2, 2.0)
