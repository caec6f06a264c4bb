"""Admission of several calls in one transaction, on PostgreSQL: those of which nothing is to be decided alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, transaction

from apps.catalog.services import ResolvedModel
from apps.core.combining import Combiner
from apps.core.errors import DomainError
from apps.credits import ledger, pricing
from apps.jobs import admission, bounds, lifecycle, statements
from apps.jobs.admission import CallRequest
from apps.jobs.models import Call, CallPayload, Job
from apps.teams.services import require_active
from apps.virtual_keys.services import Principal


@dataclass(frozen=True, slots=True)
class Submitted:
    """A call that was admitted now (`is_new`), or an earlier one that this request stands for."""

    job_id: Any
    call_id: Any
    is_new: bool
    is_replay: bool = False
    # What the answer says of rate limits.
    headers: dict[str, str] = field(default_factory=dict)
    # Its answer then says what remains of it.
    has_ceiling: bool = False


@dataclass(frozen=True, slots=True)
class _Wish:
    """A call into an open job, as far as it can be looked at before the job is locked."""

    principal: Principal
    job_id: UUID
    request: CallRequest
    model: ResolvedModel
    bound: bounds.Bound
    taken: dict[str, Any] | None
    wait_s: float
    reply_to: str


def submit_together(
    principal: Principal,
    request: CallRequest,
    *,
    job_id: UUID,
    wait_s: float,
    reply_to: str,
    taken: dict[str, Any] | None = None,
) -> Submitted | None:
    """Admit a call in one transaction with those that other threads submit at this moment, when nothing is to be
    refused and no credit to be held. Else None, and nothing is written: `submit_call` then sees to it alone.
    `taken` is what it took of rate limits.
    """
    try:
        model = admission.model_for(principal.team, principal, request)
    except DomainError:
        return None
    bound = bounds.of_call(request.body, model)
    return _admissions(_Wish(principal, job_id, request, model, bound, taken, wait_s, reply_to))


def _admit_many(wishes: Sequence[_Wish]) -> list[Submitted | None]:
    admitted: dict[int, tuple[Call, CallPayload, float]] = {}
    with transaction.atomic():
        # One that somebody has locked just now is not waited for: it would hold up all others.
        jobs = {
            job.pk: job for job in statements.LOCKED_JOBS_AND_TEAMS.all(ids=list({wish.job_id for wish in wishes}))
        }
        asked_again = {
            call.fingerprint
            for call in statements.UNANSWERED_FINGERPRINTS.all(
                teams=list({wish.principal.team.pk for wish in wishes}),
                fingerprints=[wish.request.fingerprint for wish in wishes],
                since=-admission.attach_window(),
            )
        }
        entering: list[tuple[int, Job, pricing.Terms]] = []
        for place, wish in enumerate(wishes):
            job = jobs.get(wish.job_id)
            if job is None or job.team_id != wish.principal.team.pk or wish.request.fingerprint in asked_again:
                continue
            terms = _terms_of_plain_call(job, wish)
            if terms is not None:
                entering.append((place, job, terms))
        _hold_for_new({job.pk: (job, terms) for _, job, terms in entering}.values())
        for place, job, terms in entering:
            entered = _entered_plainly(job, terms, wishes[place])
            if entered is not None:
                admitted[place] = (*entered, admission.taken_within_s(wishes[place].wait_s))
        if admitted:
            statements.admit_many(
                {call.job_id: call.job for call, _, _ in admitted.values()}.values(),
                admitted.values(),
                deadline_in=timedelta(seconds=settings.CALL_DEADLINE_S),
                publish_in=timedelta(seconds=settings.REPUBLISH_AFTER_S),
            )
    return [_submitted(admitted[place][0]) if place in admitted else None for place in range(len(wishes))]


def _submitted(call: Call) -> Submitted:
    return Submitted(call.job_id, call.pk, is_new=True, has_ceiling=call.job.max_micros is not None)


def _has_written_nothing(error: BaseException) -> bool:
    """Whether a group's transaction surely failed: with a connection that is lost at its end nobody knows, and a call
    admitted twice would be made twice. Its callers are told to ask again, as one alone is."""
    is_of_database = isinstance(error, DatabaseError | InterfaceError)
    return not is_of_database or isinstance(error, DataError | IntegrityError)


def _weight(wish: _Wish) -> int:
    """Bytes of its request at least: each is a token of the bound, those of a prediction are of its output."""
    return wish.bound.input_tokens + wish.bound.output_tokens


_admissions: Combiner[_Wish, Submitted | None] = Combiner(
    _admit_many, most=32, may_redo=_has_written_nothing, weigh=_weight
)


def _terms_of_plain_call(job: Job, wish: _Wish) -> pricing.Terms | None:
    """How the locked job is priced, if it can have this call without a decision: it is open and flat, its team is
    active, and it has room. The first of several such calls surely enters."""
    terms = lifecycle.terms_of(job) or pricing.terms_in_force(job.team, job.job_type)
    if (
        terms.rests_on_bounds
        or job.status not in (Job.Status.PENDING, Job.Status.IN_PROGRESS)
        or not _has_room(job, wish)
    ):
        return None
    if job.deadline_at is not None or (job.max_micros is not None and terms.price_micros > job.max_micros):
        return None
    try:
        require_active(job.team.status, job.team.organization.status)
    except DomainError:
        return None
    return terms


def _has_room(job: Job, wish: _Wish) -> bool:
    """For one more call and its metadata."""
    try:
        admission.call_metadata_of(job, wish.request)
    except DomainError:
        return False
    return bool(job.total_calls < settings.CALLS_PER_JOB_MAX)


def _hold_for_new(jobs: Iterable[tuple[Job, pricing.Terms]]) -> None:
    """Hold the price of jobs at their first call, of as many as can have it at once; those have their terms then."""
    new = [(job, terms) for job, terms in jobs if job.terms is None]
    priced = [(job, terms) for job, terms in new if terms.price_micros > 0]
    held: set[str] = set()
    if priced:
        held = ledger.hold_many([(job.team, str(job.pk), terms.price_micros) for job, terms in priced])
    for job, terms in new:
        if terms.price_micros == 0 or str(job.pk) in held:
            admission.freeze(job, terms)
            job.held_micros = terms.price_micros


def _entered_plainly(job: Job, terms: pricing.Terms, wish: _Wish) -> tuple[Call, CallPayload] | None:
    """The call entered into its locked job, unless the job has no hold, or no room after others of the group."""
    has_hold = job.terms is not None and (job.held_micros > 0 or terms.price_micros == 0)
    if not has_hold or job.total_calls >= settings.CALLS_PER_JOB_MAX:
        return None
    try:
        call_metadata = admission.call_metadata_of(job, wish.request)
    except DomainError:
        return None
    call, payload = admission.entered(
        job, wish.request, terms, wish.model, wish.bound, call_metadata, reply_to=wish.reply_to, completes_job=False
    )
    call.taken = wish.taken
    return call, payload
