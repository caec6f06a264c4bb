"""The caller's side of jobs: open, submit a call, complete, read. No network here; the caller publishes.

Each write is one transaction that locks the job first. A refusal rolls everything back and is then recorded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Greatest, Now

from apps.core import admission_switch, clock, idempotency
from apps.core.combining import Combiner
from apps.core.db import is_postgresql
from apps.core.errors import DomainError, IdempotencyConflict
from apps.core.ids import new_id, parse_uuid
from apps.core.prepared import Select
from apps.credits import billing, ledger, pricing
from apps.credits.errors import InsufficientCredits
from apps.jobs import admission, escrow, lifecycle, passing, refusals, statements
from apps.jobs.admission import CallRequest as CallRequest
from apps.jobs.errors import CallNotFound, JobCapReached, JobNotFound
from apps.jobs.escrow import Budget
from apps.jobs.group_admission import Submitted as Submitted
from apps.jobs.group_admission import submit_together
from apps.jobs.models import Call, Job
from apps.limits import decisions, spend
from apps.limits.gate import Passage
from apps.teams.models import Team
from apps.teams.services import require_active
from apps.virtual_keys.services import Principal


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to open."""

    job_type: str
    user_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)


def open_job(principal: Principal, new: NewJob, *, idempotent: idempotency.Request | None = None) -> tuple[Job, bool]:
    """Open a job, `pending` and free until its first call. Returns it and whether it is a replay.

    Raises: AdmissionPaused, TeamNotActive, InvalidField, IdempotencyConflict; InsufficientCredits for a reservation,
    of which nothing is left but a record of the refusal.
    """
    try:
        with transaction.atomic():
            slot = idempotency.claim(idempotent) if idempotent else None
            if slot is not None and slot.is_replay:
                return find_job(principal.team, slot.result["job_id"]), True
            admission_switch.require_open()
            admission.require_metadata_fits("metadata", new.metadata)
            _require_active(principal.team)
            job = _insert_job(principal, new, new_id())
            if slot is not None:
                slot.record({"job_id": str(job.pk)})
    except InsufficientCredits as error:
        refusals.record_early(principal, error, kind="job.refused")
        raise
    return job, False


def submit_call(
    principal: Principal,
    request: CallRequest,
    *,
    job_id: str,
    wait_s: float,
    reply_to: str,
    idempotent: idempotency.Request | None = None,
) -> Submitted:
    """Admit a call into an open job: hold its price, queue it. The caller publishes it after this returns.

    Raises: JobNotFound, JobClosed, TeamNotActive, ModelNotAllowed, NoModelAvailable, PricesMissing,
    InsufficientCredits, RateLimitExceeded, SpendLimitReached, LimitsUnavailable, TooManyCalls, JobCapReached,
    JobDeadlinePassed, InvalidField, IdempotencyConflict. Nothing is written then but a record of the refusal, and a
    pause of the job if it asks for that at its ceiling.
    """
    parsed = parse_uuid(job_id)
    if parsed is None:
        raise JobNotFound
    with passing.enter(principal, request, job_id=parsed) as passage:
        if idempotent is None and is_postgresql() and passage.is_plain:
            submitted = submit_together(
                principal, request, job_id=parsed, wait_s=wait_s, reply_to=reply_to, taken=passage.taken
            )
            if submitted is not None:
                return _kept(passage, submitted)
        while True:
            try:
                submitted = _submit_alone(principal, request, passage, parsed, wait_s, reply_to, idempotent)
            except DomainError as error:
                if isinstance(error, JobCapReached) and error.pauses and not escrow.pause(principal, error):
                    continue
                refused = decisions.Refused(str(parsed), passage.model or request.model or "", passage.user_id)
                refusals.record(principal, error, refused, passage)
                raise
            return _kept(passage, submitted)


def _submit_alone(
    principal: Principal,
    request: CallRequest,
    passage: Passage,
    job_id: UUID,
    wait_s: float,
    reply_to: str,
    idempotent: idempotency.Request | None,
) -> Submitted:
    window_ids = spend.windows_of(passage)
    with transaction.atomic():
        slot = idempotency.claim(idempotent) if idempotent else None
        if slot is not None and slot.is_replay:
            return _replayed(slot, wait_s=wait_s, reply_to=reply_to)
        job = statements.LOCKED_JOB_AND_TWIN.first(
            id=job_id, team=principal.team.pk, fingerprint=request.fingerprint, since=-admission.attach_window()
        )
        if job is None:
            raise JobNotFound
        twin_id = None if slot is not None else getattr(job, "unanswered_id")  # noqa: B009  (an annotation)
        if twin_id is not None and _attached(twin_id, wait_s=wait_s, reply_to=reply_to):
            return Submitted(job.pk, twin_id, is_new=False, has_ceiling=job.max_micros is not None)
        passage.require_passed()
        call = admission.admit(
            principal, job, request, passage, window_ids, wait_s=wait_s, reply_to=reply_to, completes_job=False
        )
        if slot is not None:
            slot.record({"job_id": str(job.pk), "call_id": str(call.pk)})
    return Submitted(job.pk, call.pk, is_new=True, has_ceiling=job.max_micros is not None)


def submit_one_call_job(
    principal: Principal,
    new: NewJob,
    request: CallRequest,
    *,
    wait_s: float,
    reply_to: str,
    idempotent: idempotency.Request | None = None,
) -> Submitted:
    """Open a job and admit its only call, whose end closes and charges it. See `submit_call`.

    A refused one leaves a failed, uncharged job that says why.
    """
    admission.require_metadata_fits("job_metadata", new.metadata)
    # Of the refused job too: by it a refusal may name the job that was undone.
    job_id = new_id()
    with passing.enter(principal, request, user_id=new.user_id) as passage:
        try:
            submitted = _submit_with_job(principal, new, request, passage, job_id, wait_s, reply_to, idempotent)
        except IdempotencyConflict:
            # No refused job: the key belongs to another request, which has its own.
            raise
        except DomainError as error:
            if isinstance(error, JobCapReached):
                escrow.tell_of_only_call(error)
            with transaction.atomic():
                failed = _insert_job(principal, new, job_id, refused=error)
            refused = decisions.Refused(str(failed.pk), passage.model or request.model or "", new.user_id)
            refusals.record(principal, error, refused, passage)
            raise
        return _kept(passage, submitted)


def _submit_with_job(
    principal: Principal,
    new: NewJob,
    request: CallRequest,
    passage: Passage,
    job_id: UUID,
    wait_s: float,
    reply_to: str,
    idempotent: idempotency.Request | None,
) -> Submitted:
    window_ids = spend.windows_of(passage)
    with transaction.atomic():
        slot = idempotency.claim(idempotent) if idempotent else None
        if slot is not None and slot.is_replay:
            return _replayed(slot, wait_s=wait_s, reply_to=reply_to)
        # First of all: from here on a client's own retry waits for what becomes of this.
        fresh = statements.team_now_admitting(principal.team.pk, request.fingerprint)
        assert fresh is not None, "teams are never deleted"
        twin = None
        if slot is None:
            twin = statements.UNANSWERED_CALL.first(
                team=principal.team.pk, fingerprint=request.fingerprint, since=-admission.attach_window()
            )
        if twin is not None and _attached(twin.pk, wait_s=wait_s, reply_to=reply_to):
            return Submitted(twin.job_id, twin.pk, is_new=False)
        if new.budget.reserves:
            # Before the account that the reservation takes, as everywhere.
            spend.lock(window_ids)
        job = _insert_job(principal, new, job_id)
        job.team = fresh
        passage.require_passed()
        call = admission.admit(
            principal, job, request, passage, window_ids, wait_s=wait_s, reply_to=reply_to, completes_job=True
        )
        if slot is not None:
            slot.record({"job_id": str(job.pk), "call_id": str(call.pk)})
    return Submitted(job.pk, call.pk, is_new=True)


def _kept(passage: Passage, submitted: Submitted) -> Submitted:
    """What was submitted. Only of a new call the rates stay taken."""
    if not submitted.is_new:
        return submitted
    passage.keep()
    return replace(submitted, headers=passage.headers) if passage.headers else submitted


def complete_job(
    team: Team,
    *,
    job_id: str,
    verdict: str,
    closed_by: str,
    metadata: dict[str, Any] | None = None,
    error_message: str | None = None,
    idempotent: idempotency.Request | None = None,
) -> tuple[Job, bool]:
    """Fix a job's verdict and charge it once. A repeat, with whatever verdict, returns the job as it is.

    Returns the job and whether this idempotency key was used before.
    Raises: JobNotFound, InvalidField, IdempotencyConflict.
    """
    parsed = parse_uuid(job_id)
    if parsed is None:
        raise JobNotFound
    with transaction.atomic():
        is_replay = idempotency.claim(idempotent).is_replay if idempotent else False
        job = statements.LOCKED_TEAM_JOB.first(id=parsed, team=team.pk)
        if job is None:
            raise JobNotFound
        if job.is_closed:
            return job, is_replay
        if metadata:
            job.metadata = _merged(job, metadata)
        lifecycle.close_job(job, Job.Status(verdict), closed_by=closed_by, error_message=error_message)
    return job, is_replay


def merge_metadata(team: Team, *, job_id: str, metadata: dict[str, Any]) -> Job:
    """Merge keys into a job's metadata, open or closed. Raises: JobNotFound, InvalidField past the limit."""
    parsed = parse_uuid(job_id)
    with transaction.atomic():
        job = Job.objects.for_team(team).select_for_update().filter(pk=parsed).first() if parsed else None
        if job is None:
            raise JobNotFound
        job.metadata = _merged(job, metadata)
        job.active_at = clock.db_now()
        job.save(update_fields=["metadata", "active_at"])
    return job


def find_job(team: Team, job_id: str) -> Job:
    """A job of the team. Raises: JobNotFound, for another team's job too."""
    parsed = parse_uuid(job_id)
    job = (
        Job.objects.for_team(team).select_related("team", "organization").filter(pk=parsed).first()
        if parsed
        else None
    )
    if job is None:
        raise JobNotFound
    return job


def find_call(team: Team, job_id: str, call_id: str) -> Call:
    """A call of one of the team's jobs, with its payload. Raises: CallNotFound."""
    job, parsed = parse_uuid(job_id), parse_uuid(call_id)
    found = None
    if job is not None and parsed is not None:
        found = statements.TEAM_CALL.first(id=parsed, job=job, team=team.pk)
    if found is None:
        raise CallNotFound
    return found


def calls_of(job: Job) -> list[Call]:
    """A job's calls in their order, with what its list of them shows."""
    return statements.CALLS_OF_JOB.all(job=job.pk)


def find_answered(team: Team, job_id: str, call_id: str, *, with_job: bool = False) -> Call:
    """`find_call` for one who waited, in one query with others whose calls have ended just now. With what an answer
    shows, and its job if asked for. Raises: CallNotFound."""
    parsed = parse_uuid(call_id)
    if parsed is None or not is_postgresql():
        return find_call(team, job_id, call_id)
    return _required(team, job_id, (_answers_with_jobs if with_job else _answers)(parsed))


def find_streamed(team: Team, job_id: str, call_id: str) -> Call:
    """A call whose stream begins: what its pieces and `leave_stream` need of it alone, since it is kept until the
    stream's end. In one query with others that begin just now. Raises: CallNotFound."""
    parsed = parse_uuid(call_id)
    if parsed is None:
        raise CallNotFound
    return _required(team, job_id, _streams(parsed) if is_postgresql() else statements.STREAMED.first(id=parsed))


def _required(team: Team, job_id: str, found: Call | None) -> Call:
    """What was found by its id alone, if it is the team's and the job's. Raises: CallNotFound."""
    if found is None or found.team_id != team.pk or str(found.job_id) != str(job_id):
        raise CallNotFound
    return found


def _by_id(statement: Select[Call]) -> Callable[[Sequence[UUID]], list[Call | None]]:
    def found(ids: Sequence[UUID]) -> list[Call | None]:
        calls = {call.pk: call for call in statement.all(ids=list(ids))}
        return [calls.get(call_id) for call_id in ids]

    return found


_answers: Combiner[UUID, Call | None] = Combiner(_by_id(statements.ANSWERS), most=64)
_answers_with_jobs: Combiner[UUID, Call | None] = Combiner(_by_id(statements.ANSWERS_WITH_JOBS), most=64)
_streams: Combiner[UUID, Call | None] = Combiner(_by_id(statements.STREAMED_MANY), most=64)


def mark_unanswered(call_id: Any) -> None:
    """The caller was sent away before its call ended: the same request within the window gets this one."""
    Call.objects.filter(pk=call_id, unanswered_at__isnull=True).update(unanswered_at=Now())


def leave_stream(team: Team, call: Call) -> None:
    """Its caller went away in mid-stream: by the team's choice the call is finished (the same request is then given
    its answer) or broken off, and what was delivered is paid."""
    # Until another reader was given the call: its wait is another one.
    ours = Call.objects.filter(pk=call.pk, team=team, wait_until=call.wait_until)
    if not ours.filter(unanswered_at__isnull=True).update(unanswered_at=Now()):
        return
    if not billing.cancels_left_streams(team):
        return
    unclaimed = lifecycle.Outcome(
        Call.State.CANCELLED,
        error_code="call_cancelled",
        error_status=503,
        error_message="LLM call failed: the caller left",
    )
    if not lifecycle.end_call(call.job_id, call.pk, unclaimed, claim=0):
        # Its worker sees it when it next saves how far it is.
        ours.filter(state__in=Call.OPEN_STATES).update(cancel_requested_at=Now())


def _merged(job: Job, metadata: dict[str, Any]) -> dict[str, Any]:
    merged = {**job.metadata, **metadata}
    admission.require_metadata_fits("metadata", merged, already_bytes=job.pending_metadata_bytes)
    return merged


def _require_active(team: Team) -> None:
    """Judge team and organization as they are now: the authenticated ones may be half a second old."""
    fresh = statements.TEAM_NOW.first(id=team.pk)
    assert fresh is not None, "teams are never deleted"
    require_active(fresh.status, fresh.organization.status)


def _insert_job(principal: Principal, new: NewJob, job_id: UUID, *, refused: DomainError | None = None) -> Job:
    job = Job(
        pk=job_id,
        organization_id=principal.organization.pk,
        team_id=principal.team.pk,
        key_id=principal.key_id,
        job_type=new.job_type,
        user_id=new.user_id,
        metadata=new.metadata,
    )
    if refused is None:
        escrow.put_on(job, new.budget)
        if job.reserves_ceiling and job.max_micros is not None:
            # What is held and what it is for are not to part.
            admission.freeze(job, pricing.terms_in_force(principal.team, job.job_type))
            job.held_micros = job.max_micros
    else:
        job.status = Job.Status.FAILED
        job.completed_at = clock.now()
        job.charge_state = Job.ChargeState.FREE
        job.error_message = refused.message[:1000]
        job.closed_by = "admission"
        job.max_micros, job.on_cap = new.budget.max_micros, new.budget.on_cap
    statements.insert_job(job)
    if job.reserves_ceiling:
        ledger.hold(principal.team, job=str(job.pk), amount_micros=job.held_micros, job_type=job.job_type)
    return job


def _replayed(slot: idempotency.Slot, *, wait_s: float, reply_to: str) -> Submitted:
    """The call of a known idempotency key; its new caller is the one who is told of its end."""
    Call.objects.filter(pk=slot.result["call_id"], state__in=Call.OPEN_STATES).update(
        reply_to=reply_to, wait_until=Greatest("wait_until", clock.from_now(wait_s + 2))
    )
    job_id, call_id = slot.result["job_id"], slot.result["call_id"]
    # Whether it has a ceiling is not known here, so its job is looked at.
    return Submitted(job_id, call_id, is_new=False, is_replay=True, has_ceiling=True)


def _attached(call_id: Any, *, wait_s: float, reply_to: str) -> bool:
    """Give an unanswered call to this caller. Guarded: of several that ask again, one is given it.

    Without it a client that times out and asks again would make us pay the provider twice. Its new caller is the
    one who is told of its end, and keeps it from expiring unclaimed.
    """
    return bool(
        Call.objects.filter(pk=call_id, unanswered_at__isnull=False, cancel_requested_at__isnull=True).update(
            unanswered_at=None, reply_to=reply_to, wait_until=clock.from_now(wait_s + 2)
        )
    )
