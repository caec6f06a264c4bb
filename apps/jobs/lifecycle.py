"""How calls end and jobs close: what the caller's side and the worker's side share.

Every move of a call to a terminal state goes through `end_call`; every charge of a job through `_settle_money`.
Both run under the job's row lock, so that counting open calls and posting the charge cannot cross.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from django.conf import settings
from django.db import transaction

from apps.catalog.price_models import PriceSource
from apps.core import clock
from apps.credits import ledger, pricing, settlement
from apps.credits.pricing import Terms
from apps.credits.settlement import Due, Verdict, Work
from apps.jobs import spending, statements
from apps.jobs.models import Attempt, Call, CallPayload, Job
from apps.limits import gate

Status = Job.Status
ChargeState = Job.ChargeState
# Who closed a job that nobody did: its card says what that costs.
CLOSED_BY_SWEEPER = "sweeper"
# Who set a deadline has not abandoned the job: short ones would make any work free where abandoned jobs are.
CLOSED_BY_DEADLINE = "deadline"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended. Tokens and cost are those of the served attempt, or 0.

    `price_source` is what the cost rests on, empty for what was frozen on the call.
    `is_delivered`: it did not succeed, but its caller was given a part of a stream, which is paid like an answer.
    """

    state: Call.State
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usage_classes: dict[str, int] | None = None
    cost_nanousd: int = 0
    price_source: str = ""
    lost_cost_nanousd: int = 0
    is_estimated: bool = False
    usage_mismatch: bool = False
    is_delivered: bool = False
    raw_usage: str = ""
    latency_ms: int | None = None
    resolved_model: str = ""
    response: str = ""
    error_code: str = ""
    error_status: int | None = None
    error_message: str = ""
    retry_after_s: int | None = None

    @property
    def is_paid(self) -> bool:
        """Whether its tokens and cost are counted on the job."""
        return self.state == Call.State.SUCCEEDED or self.is_delivered


def end_call(
    job_id: Any, call_id: Any, outcome: Outcome, *, claim: int | None = None, claimed: Call | None = None
) -> bool:
    """Move an open call to a terminal state, count it, and do what waits for it. One transaction.

    With `claim`, only while that claim is the call's newest: a worker whose lease was taken over changes
    nothing. `claimed` is the call as that worker loaded it: what is read of it never changes, so it is not read
    again. False when somebody else ended it first.
    """
    with transaction.atomic():
        job = lock_job(job_id)
        call = claimed or statements.OPEN_CALL.first(id=call_id, job=job_id)
        if call is None or not statements.END_CALL.run(
            id=call_id,
            claim=call.claim if claim is None else claim,
            **_written(call, outcome),
        ):
            return False
        _count(job, call, outcome)
        _settle_rates([(call, outcome)])
        succeeded = outcome.state == Call.State.SUCCEEDED
        if call.completes_job and not job.is_closed:
            job.error_message = "" if succeeded else outcome.error_message
            _close(job, Status.COMPLETED if succeeded else Status.FAILED, closed_by="call")
        elif job.charge_state == ChargeState.PENDING or not job.is_closed:
            _settle_money(job)
        statements.end(
            job,
            _ended_attempt(call, outcome),
            CallPayload(call=call, response=outcome.response),
            kept_for=timedelta(hours=settings.PAYLOAD_RETENTION_H),
        )
        return True


@dataclass(frozen=True, slots=True, eq=False)
class End:
    """A call as its worker loaded it under its claim, and how it ended. Two claims of one call are two ends."""

    call: Call
    outcome: Outcome


def end_calls(ends: Sequence[End]) -> list[bool | None]:
    """`end_call` for several calls in one transaction, on PostgreSQL. None for those left out, to be ended alone.

    Left out is what moves money, so that groups never wait for each other's wallets, and whose job somebody else
    has locked just now, so that a group waits for nobody.
    """
    with transaction.atomic():
        jobs = {job.pk: job for job in statements.LOCKED_JOBS.all(ids=list({end.call.job_id for end in ends}))}
        plain = [
            end for end in ends if (job := jobs.get(end.call.job_id)) is not None and not _moves_money(job, end.call)
        ]
        if not plain:
            return [None] * len(ends)
        if len(plain) == 1:
            # One alone is cheaper by its own statements.
            is_ours = _end_plainly(jobs[plain[0].call.job_id], plain[0])
            return [is_ours if end is plain[0] else None for end in ends]
        ended = statements.end_many(
            [_row_of(end) for end in plain], kept_for=timedelta(hours=settings.PAYLOAD_RETENTION_H)
        )
        ours = [end for end in plain if (end.call.pk, end.call.claim) in ended]
        for end in ours:
            _count(jobs[end.call.job_id], end.call, end.outcome)
        _settle_rates((end.call, end.outcome) for end in ours)
        if ours:
            statements.save_jobs([jobs[job_id] for job_id in {end.call.job_id for end in ours}])
    return [end in ours if end in plain else None for end in ends]


def _end_plainly(job: Job, end: End) -> bool:
    """The end of a call of a locked job that moves no money. False when it was ended before."""
    if not statements.END_CALL.run(id=end.call.pk, claim=end.call.claim, **_written(end.call, end.outcome)):
        return False
    _count(job, end.call, end.outcome)
    _settle_rates([(end.call, end.outcome)])
    statements.end(
        job,
        _ended_attempt(end.call, end.outcome),
        CallPayload(call=end.call, response=end.outcome.response),
        kept_for=timedelta(hours=settings.PAYLOAD_RETENTION_H),
    )
    return True


def _moves_money(job: Job, call: Call) -> bool:
    """Whether the end of this call of a locked job charges, releases or shrinks a hold."""
    terms = terms_of(job)
    if job.is_closed:
        return job.charge_state == ChargeState.PENDING
    return call.completes_job or (terms is not None and terms.is_metered)


def _row_of(end: End) -> dict[str, Any]:
    attempt = _ended_attempt(end.call, end.outcome)
    return {
        "id": end.call.pk,
        "claim": end.call.claim,
        **_written(end.call, end.outcome),
        "attempt_state": attempt.state,
        "cost_nanousd": attempt.cost_nanousd,
        "raw_usage": attempt.raw_usage,
        "response": end.outcome.response,
    }


def _written(call: Call, outcome: Outcome) -> dict[str, Any]:
    """The outcome as the call's columns."""
    return {
        "state": outcome.state,
        "prompt_tokens": outcome.prompt_tokens if outcome.is_paid else 0,
        "completion_tokens": outcome.completion_tokens if outcome.is_paid else 0,
        "usage_classes": outcome.usage_classes if outcome.is_paid else None,
        "provider_cost_nanousd": outcome.cost_nanousd if outcome.is_paid else 0,
        "price_source": outcome.price_source or call.price_source,
        "is_estimated": outcome.is_estimated,
        "usage_mismatch": outcome.usage_mismatch,
        "latency_ms": outcome.latency_ms,
        "resolved_model": outcome.resolved_model,
        "error_code": outcome.error_code,
        "error_status": outcome.error_status,
        "error_message": outcome.error_message,
        "retry_after_s": outcome.retry_after_s,
    }


def lock_job(job_id: Any) -> Job:
    """The job under its row lock, with its team: the first lock of every change."""
    job = statements.LOCKED_JOB.first(id=job_id)
    if job is None:
        raise Job.DoesNotExist
    return job


def close_job(job: Job, verdict: Status, *, closed_by: str, error_message: str | None = None) -> None:
    """Fix the verdict of a locked, open job, close its admission and charge it or say why not yet. Saves it."""
    if error_message is not None:
        job.error_message = error_message
    _close(job, verdict, closed_by=closed_by)
    statements.save_job(job)


def terms_of(job: Job) -> Terms | None:
    """The pricing frozen on the job, None before its first call."""
    return Terms(**job.terms) if job.terms else None


def work_of(job: Job) -> Work:
    """What the job's ended calls came to."""
    return Work(
        successful_calls=job.successful_calls,
        failed_calls=job.failed_calls,
        tokens=job.total_tokens,
        provider_nanousd=job.provider_cost_nanousd,
        billed_lost_nanousd=job.billed_lost_nanousd,
    )


def due_of(job: Job, terms: Terms) -> Due:
    """What a closed job whose calls have all ended owes, and why."""
    return settlement.due(terms, _verdict(job), work_of(job))


def _verdict(job: Job) -> Verdict:
    return Verdict.ABANDONED if job.closed_by == CLOSED_BY_SWEEPER else Verdict(job.status)


def price_so_far(job: Job, terms: Terms) -> int:
    """Micros that the job costs for what was served."""
    return settlement.price_of(terms, work_of(job))


def needed_hold(job: Job, terms: Terms, *, more_nanousd: int = 0, more_tokens: int = 0) -> int:
    """Micros that the job may come to: what was used and the most that its open calls (and more) can cost. Nothing
    that `settlement.due` says is above it, for calls that stay within their bounds."""
    return pricing.price(
        terms,
        provider_nanousd=work_of(job).billed_nanousd + job.open_bound_nanousd + more_nanousd,
        tokens=job.total_tokens + job.open_bound_tokens + more_tokens,
    )


def _ended_attempt(call: Call, outcome: Outcome) -> Attempt:
    """The newest claim's try as it ended (of no claim, none is written). Those of older claims were abandoned when
    they were taken over."""
    served = outcome.state == Call.State.SUCCEEDED
    unserved = Attempt.State.PARTIAL if outcome.is_delivered else Attempt.State.FAILED
    return Attempt(
        call=call,
        claim=call.claim,
        state=Attempt.State.SUCCEEDED if served else unserved,
        prompt_tokens=outcome.prompt_tokens,
        completion_tokens=outcome.completion_tokens,
        cost_nanousd=outcome.cost_nanousd if outcome.is_paid else outcome.lost_cost_nanousd,
        is_estimated=outcome.is_estimated,
        usage_mismatch=outcome.usage_mismatch,
        raw_usage=outcome.raw_usage,
        latency_ms=outcome.latency_ms,
        error_code=outcome.error_code,
    )


def _count(job: Job, call: Call, outcome: Outcome) -> None:
    job.open_calls -= 1
    job.open_bound_nanousd -= call.bound_nanousd
    job.open_bound_tokens -= call.bound_input_tokens + call.bound_output_tokens
    if outcome.lost_cost_nanousd:
        _count_lost(job, outcome.lost_cost_nanousd)
    metadata = call.payload.call_metadata
    job.pending_metadata_bytes = max(0, job.pending_metadata_bytes - len(metadata.encode()))
    if outcome.is_paid:
        job.prompt_tokens += outcome.prompt_tokens
        job.completion_tokens += outcome.completion_tokens
        job.provider_cost_nanousd += outcome.cost_nanousd
        if (outcome.price_source or call.price_source) == PriceSource.NONE:
            job.unpriced_calls += 1
    if outcome.state == Call.State.SUCCEEDED:
        job.successful_calls += 1
        job.latency_total_ms += outcome.latency_ms or 0
        if metadata:
            job.metadata = {**job.metadata, **orjson.loads(metadata)}
    else:
        job.failed_calls += 1


def _settle_rates(ended: Iterable[tuple[Call, Outcome]]) -> None:
    """Once the ends are committed, and before the callers know: their next calls find the places free."""
    taken = [
        (call.taken, outcome.prompt_tokens + outcome.completion_tokens if outcome.is_paid else 0)
        for call, outcome in ended
        if call.taken is not None
    ]
    if taken:
        transaction.on_commit(lambda: gate.settle(taken), robust=True)


def _close(job: Job, verdict: Status, *, closed_by: str) -> None:
    job.status = verdict
    job.paused_reason = ""
    job.completed_at = clock.now()
    job.closed_by = closed_by
    _settle_money(job)


def _settle_money(job: Job) -> None:
    """Charge, wait or release, by the verdict and what is still open; give slack back while the job is open."""
    with spending.counted(job):
        _settle_credits(job)


def _settle_credits(job: Job) -> None:
    terms = terms_of(job)
    if not job.is_closed:
        if terms is not None and terms.is_metered:
            _give_slack_back(job, terms)
        return
    if job.charge_state in (ChargeState.CHARGED, ChargeState.FREE):
        return
    if terms is not None:
        if job.open_calls and settlement.waits_for_open_calls(
            terms, _verdict(job), successful_calls=job.successful_calls
        ):
            # The hold stays until what is due is known.
            job.charge_state = ChargeState.PENDING
            return
        due = due_of(job, terms)
        if due.micros or (job.status == Status.COMPLETED and job.successful_calls):
            reason = f"{job.job_type} ({due.explanation})" if due.by_policy else job.job_type
            # A provider that did not keep to its caps breaks no promise of ours: the ceiling holds.
            most = due.micros if job.max_micros is None else min(due.micros, job.max_micros)
            charge = ledger.charge(
                job.team, job=str(job.pk), amount_micros=most, reason=reason, job_type=job.job_type
            )
            job.charged_micros = charge.charged_micros
            job.uncollected_micros = charge.uncollected_micros + due.micros - most
            job.charge_state, job.held_micros = ChargeState.CHARGED, 0
            return
    if job.held_micros:
        ledger.release(job=str(job.pk))
    job.charge_state, job.held_micros = ChargeState.FREE, 0


def _give_slack_back(job: Job, terms: Terms) -> None:
    """Shrink a metered job's hold when more than a quarter of it can no longer be needed, unless it is reserved."""
    if job.reserves_ceiling:
        return
    needed = needed_hold(job, terms)
    if job.held_micros - needed > job.held_micros // 4:
        ledger.extend(job.team, job=str(job.pk), to_micros=needed, job_type=job.job_type)
        job.held_micros = needed


def add_lost_cost(job: Job, nanousd: int, *, tries: int = 1) -> None:
    """Count what failed tries of a locked job cost each: the platform's, beyond what its card includes the
    customer's. Saves it."""
    if not nanousd:
        return
    for _ in range(tries):
        _count_lost(job, nanousd)
    job.save(update_fields=["lost_cost_nanousd", "lost_tries", "billed_lost_nanousd"])


def _count_lost(job: Job, nanousd: int) -> None:
    terms = terms_of(job)
    if terms is not None:
        job.billed_lost_nanousd += settlement.billed_of_try(terms, tries=job.lost_tries, nanousd=nanousd)
    job.lost_cost_nanousd += nanousd
    job.lost_tries += 1
