"""The caller's side of jobs: open, submit a call, complete, read. No network here; the caller publishes.

Each write is one transaction that locks the job first. A refusal rolls everything back and is then recorded.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, transaction
from django.db.models.functions import Greatest, Now

from apps.catalog import limits
from apps.catalog import services as catalog
from apps.catalog.services import ResolvedModel
from apps.core import audit, clock, idempotency, json_bytes
from apps.core.combining import Combiner
from apps.core.db import is_postgresql
from apps.core.errors import DomainError, IdempotencyConflict, InvalidField
from apps.core.ids import parse_uuid
from apps.core.prepared import Select
from apps.credits import billing, ledger, pricing
from apps.credits.errors import PricesMissing
from apps.jobs import bounds, candidates, lifecycle, statements, validity
from apps.jobs.errors import CallNotFound, JobClosed, JobNotFound, TooManyCalls
from apps.jobs.models import Call, CallPayload, Job
from apps.teams.models import Team
from apps.teams.services import require_active
from apps.virtual_keys.services import Principal


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A call as asked for. `body` is OpenAI's request without the model; `fingerprint` covers credential, path
    and body, so that a caller who left without its answer can be given it."""

    body: dict[str, Any]
    fingerprint: str
    model: str | None = None
    purpose: str = ""
    call_metadata: dict[str, Any] | None = None
    kind: Call.Kind = Call.Kind.CHAT
    is_streamed: bool = False
    validates: bool = False


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to open."""

    job_type: str
    user_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Submitted:
    """A call that was admitted now (`is_new`), or an earlier one that this request stands for."""

    job_id: Any
    call_id: Any
    is_new: bool
    is_replay: bool = False


def open_job(principal: Principal, new: NewJob, *, idempotent: idempotency.Request | None = None) -> tuple[Job, bool]:
    """Open a job, `pending` and free until its first call. Returns it and whether it is a replay.

    Raises: TeamNotActive, InvalidField, IdempotencyConflict.
    """
    with transaction.atomic():
        slot = idempotency.claim(idempotent) if idempotent else None
        if slot is not None and slot.is_replay:
            return find_job(principal.team, slot.result["job_id"]), True
        require_metadata_fits("metadata", new.metadata)
        _require_active(principal.team)
        job = _insert_job(principal, new)
        if slot is not None:
            slot.record({"job_id": str(job.pk)})
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
    InsufficientCredits, TooManyCalls, InvalidField, IdempotencyConflict. Nothing is written then but a record of the
    refusal.
    """
    parsed = parse_uuid(job_id)
    if parsed is None:
        raise JobNotFound
    if idempotent is None and is_postgresql():
        submitted = _submit_together(principal, request, job_id=parsed, wait_s=wait_s, reply_to=reply_to)
        if submitted is not None:
            return submitted
    try:
        with transaction.atomic():
            slot = idempotency.claim(idempotent) if idempotent else None
            if slot is not None and slot.is_replay:
                return _replayed(slot, wait_s=wait_s, reply_to=reply_to)
            job = statements.LOCKED_JOB_AND_TWIN.first(
                id=parsed, team=principal.team.pk, fingerprint=request.fingerprint, since=-_attach_window()
            )
            if job is None:
                raise JobNotFound
            twin_id = None if slot is not None else getattr(job, "unanswered_id")  # noqa: B009  (an annotation)
            if twin_id is not None and _attached(twin_id, wait_s=wait_s, reply_to=reply_to):
                return Submitted(job.pk, twin_id, is_new=False)
            call = _admit(principal, job, request, wait_s=wait_s, reply_to=reply_to, completes_job=False)
            if slot is not None:
                slot.record({"job_id": str(job.pk), "call_id": str(call.pk)})
    except DomainError as error:
        _record_refusal(principal, error, subject=f"job:{job_id}")
        raise
    return Submitted(job.pk, call.pk, is_new=True)


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
    require_metadata_fits("job_metadata", new.metadata)
    try:
        with transaction.atomic():
            slot = idempotency.claim(idempotent) if idempotent else None
            if slot is not None and slot.is_replay:
                return _replayed(slot, wait_s=wait_s, reply_to=reply_to)
            twin = None
            if slot is None:
                twin = statements.UNANSWERED_CALL.first(
                    team=principal.team.pk, fingerprint=request.fingerprint, since=-_attach_window()
                )
            if twin is not None and _attached(twin.pk, wait_s=wait_s, reply_to=reply_to):
                return Submitted(twin.job_id, twin.pk, is_new=False)
            job = _insert_job(principal, new)
            fresh = statements.TEAM_NOW.first(id=principal.team.pk)
            assert fresh is not None, "teams are never deleted"
            job.team = fresh
            call = _admit(principal, job, request, wait_s=wait_s, reply_to=reply_to, completes_job=True)
            if slot is not None:
                slot.record({"job_id": str(job.pk), "call_id": str(call.pk)})
    except IdempotencyConflict:
        # No refused job: the key belongs to another request, which has its own.
        raise
    except DomainError as error:
        with transaction.atomic():
            failed = _insert_job(principal, new, refused=error)
        _record_refusal(principal, error, subject=f"job:{failed.pk}")
        raise
    return Submitted(job.pk, call.pk, is_new=True)


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


def require_metadata_fits(name: str, metadata: dict[str, Any], *, already_bytes: int = 0) -> None:
    """Raises: InvalidField when a job's metadata would exceed METADATA_MAX_BYTES as JSON."""
    size = len(json_bytes.dumps(metadata)) + already_bytes
    if size > settings.METADATA_MAX_BYTES:
        raise InvalidField(
            name,
            f"A job's metadata may have {settings.METADATA_MAX_BYTES} bytes as JSON; this would make it {size}.",
            kind="too_long",
        )


def _merged(job: Job, metadata: dict[str, Any]) -> dict[str, Any]:
    merged = {**job.metadata, **metadata}
    require_metadata_fits("metadata", merged, already_bytes=job.pending_metadata_bytes)
    return merged


def _require_active(team: Team) -> None:
    """Judge team and organization as they are now: the authenticated ones may be half a second old."""
    fresh = statements.TEAM_NOW.first(id=team.pk)
    assert fresh is not None, "teams are never deleted"
    require_active(fresh.status, fresh.organization.status)


def _insert_job(principal: Principal, new: NewJob, *, refused: DomainError | None = None) -> Job:
    job = Job(
        organization_id=principal.organization.pk,
        team_id=principal.team.pk,
        key_id=principal.key_id,
        job_type=new.job_type,
        user_id=new.user_id,
        metadata=new.metadata,
    )
    if refused is not None:
        job.status = Job.Status.FAILED
        job.completed_at = clock.now()
        job.charge_state = Job.ChargeState.FREE
        job.error_message = refused.message[:1000]
        job.closed_by = "admission"
    statements.insert_job(job)
    return job


def _replayed(slot: idempotency.Slot, *, wait_s: float, reply_to: str) -> Submitted:
    """The call of a known idempotency key; its new caller is the one who is told of its end."""
    Call.objects.filter(pk=slot.result["call_id"], state__in=Call.OPEN_STATES).update(
        reply_to=reply_to, wait_until=Greatest("wait_until", clock.from_now(wait_s + 2))
    )
    return Submitted(slot.result["job_id"], slot.result["call_id"], is_new=False, is_replay=True)


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


def _attach_window() -> timedelta:
    return timedelta(seconds=settings.ATTACH_WINDOW_S)


def _admit(
    principal: Principal, job: Job, request: CallRequest, *, wait_s: float, reply_to: str, completes_job: bool
) -> Call:
    """Check, hold and queue, under the job's lock. `job.team` is fresh."""
    require_active(job.team.status, job.team.organization.status)
    if job.is_closed:
        raise JobClosed(f"Job is already {job.wire_status}")
    if job.total_calls >= settings.CALLS_PER_JOB_MAX:
        raise TooManyCalls(f"A job may have {settings.CALLS_PER_JOB_MAX} calls. Open another job.")
    call_metadata = _call_metadata(job, request)
    model = _model_for(job.team, principal, request)
    terms = lifecycle.terms_of(job)
    if terms is None:
        terms = _freeze(job, pricing.terms_in_force(job.team, job.job_type))
    bound = bounds.of_call(request.body, model)
    _hold(job, terms, model, bound)
    call, payload = _entered(
        job, request, terms, model, bound, call_metadata, reply_to=reply_to, completes_job=completes_job
    )
    statements.admit(
        job,
        call,
        payload,
        deadline_in=timedelta(seconds=settings.CALL_DEADLINE_S),
        wait_in=timedelta(seconds=_taken_within_s(wait_s)),
        publish_in=timedelta(seconds=settings.REPUBLISH_AFTER_S),
    )
    return call


def _model_for(team: Team, principal: Principal, request: CallRequest) -> ResolvedModel:
    """The model that is asked for, and those of its fallbacks that can answer.

    Raises: ModelNotAllowed, NoModelAvailable, ModelGroupUnavailable, InvalidField for what none of them can do.
    """
    validity.require_usable(request.body)
    if request.validates and not validity.is_json_wanted(request.body.get("response_format")):
        raise InvalidField("validate", "validate needs a response_format of type json_schema or json_object.")
    if request.validates and request.is_streamed:
        raise InvalidField("validate", "validate is not for streams: what was sent cannot be taken back.")
    model = catalog.resolve_cached(team, request.model, only=principal.models_allowed)
    return limits.able(model, request.body)


def _freeze(job: Job, terms: pricing.Terms) -> pricing.Terms:
    """Fix the job's pricing, at its first call."""
    job.terms = {name: getattr(terms, name) for name in terms.__slots__}
    return terms


def _taken_within_s(wait_s: float) -> float:
    """A little longer than the caller waits, so that an answer at the last moment is not thrown away."""
    return wait_s + 2


def _call_metadata(job: Job, request: CallRequest) -> bytes:
    """The call's metadata as JSON, nothing without any. Raises: InvalidField past what a job may have."""
    if not request.call_metadata:
        return b""
    require_metadata_fits(
        "call_metadata",
        {**job.metadata, **request.call_metadata},
        already_bytes=job.pending_metadata_bytes,
    )
    return orjson.dumps(request.call_metadata)


def _entered(
    job: Job,
    request: CallRequest,
    terms: pricing.Terms,
    model: ResolvedModel,
    bound: bounds.Bound,
    call_metadata: bytes,
    *,
    reply_to: str,
    completes_job: bool,
) -> tuple[Call, CallPayload]:
    """A call that may be made, counted on its job; nothing of it is written yet."""
    job.status = Job.Status.IN_PROGRESS if job.status == Job.Status.PENDING else job.status
    job.started_at = job.started_at or clock.now()
    job.open_calls += 1
    job.total_calls += 1
    job.open_bound_nanousd += bound.nanousd
    job.open_bound_tokens += bound.input_tokens + bound.output_tokens
    job.pending_metadata_bytes += len(call_metadata)
    if model.asked not in job.model_groups_used:
        job.model_groups_used = [*job.model_groups_used, model.asked]
    call = Call(
        job=job,
        organization_id=job.organization_id,
        team_id=job.team_id,
        kind=request.kind,
        is_streamed=request.is_streamed,
        validates=request.validates,
        purpose=request.purpose,
        completes_job=completes_job,
        model_group_used=model.asked,
        model_used=model.alias,
        route=model.route,
        provider=model.provider,
        provider_model=model.provider_model,
        input_nanousd_per_mtok=model.input_nanousd_per_mtok,
        output_nanousd_per_mtok=model.output_nanousd_per_mtok,
        candidates=candidates.frozen(model, only_priced=terms.mode == pricing.Mode.METERED_USD),
        # A flat job's caller may leave the length to the model; a metered one's hold rests on the cap.
        max_output_tokens=bound.output_cap if terms.is_metered else None,
        bound_input_tokens=bound.input_tokens,
        bound_output_tokens=bound.output_tokens,
        bound_nanousd=bound.nanousd,
        reply_to=reply_to,
        fingerprint=request.fingerprint,
    )
    payload = CallPayload(
        call=call, request=orjson.dumps(request.body).decode(), call_metadata=call_metadata.decode()
    )
    return call, payload


# --- Admission of several calls in one transaction ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wish:
    """A call into an open job, as far as it can be looked at before the job is locked."""

    principal: Principal
    job_id: UUID
    request: CallRequest
    model: ResolvedModel
    bound: bounds.Bound
    wait_s: float
    reply_to: str


def _submit_together(
    principal: Principal, request: CallRequest, *, job_id: UUID, wait_s: float, reply_to: str
) -> Submitted | None:
    """Admit a call in one transaction with those that other threads submit at this moment, when nothing is to be
    refused and no credit to be held. Else None, and nothing is written: `submit_call` then sees to it alone.
    """
    try:
        model = _model_for(principal.team, principal, request)
    except DomainError:
        return None
    bound = bounds.of_call(request.body, model)
    return _admissions(_Wish(principal, job_id, request, model, bound, wait_s, reply_to))


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
                since=-_attach_window(),
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
                admitted[place] = (*entered, _taken_within_s(wishes[place].wait_s))
        if admitted:
            statements.admit_many(
                {call.job_id: call.job for call, _, _ in admitted.values()}.values(),
                admitted.values(),
                deadline_in=timedelta(seconds=settings.CALL_DEADLINE_S),
                publish_in=timedelta(seconds=settings.REPUBLISH_AFTER_S),
            )
    return [
        Submitted(wish.job_id, admitted[place][0].pk, is_new=True) if place in admitted else None
        for place, wish in enumerate(wishes)
    ]


def _has_written_nothing(error: BaseException) -> bool:
    """Whether a group's transaction surely failed: with a connection that is lost at its end nobody knows, and a call
    admitted twice would be made twice. Its callers are told to ask again, as one alone is."""
    is_of_database = isinstance(error, DatabaseError | InterfaceError)
    return not is_of_database or isinstance(error, DataError | IntegrityError)


_admissions: Combiner[_Wish, Submitted | None] = Combiner(_admit_many, most=32, may_redo=_has_written_nothing)


def _terms_of_plain_call(job: Job, wish: _Wish) -> pricing.Terms | None:
    """How the locked job is priced, if it can have this call without a decision: it is open and flat, its team is
    active, and it has room. The first of several such calls surely enters."""
    terms = lifecycle.terms_of(job) or pricing.terms_in_force(job.team, job.job_type)
    if terms.is_metered or job.status not in (Job.Status.PENDING, Job.Status.IN_PROGRESS) or not _has_room(job, wish):
        return None
    try:
        require_active(job.team.status, job.team.organization.status)
    except DomainError:
        return None
    return terms


def _has_room(job: Job, wish: _Wish) -> bool:
    """For one more call and its metadata."""
    try:
        _call_metadata(job, wish.request)
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
            _freeze(job, terms)
            job.held_micros = terms.price_micros


def _entered_plainly(job: Job, terms: pricing.Terms, wish: _Wish) -> tuple[Call, CallPayload] | None:
    """The call entered into its locked job, unless the job has no hold, or no room after others of the group."""
    has_hold = job.terms is not None and (job.held_micros > 0 or terms.price_micros == 0)
    if not has_hold or job.total_calls >= settings.CALLS_PER_JOB_MAX:
        return None
    try:
        call_metadata = _call_metadata(job, wish.request)
    except DomainError:
        return None
    return _entered(
        job, wish.request, terms, wish.model, wish.bound, call_metadata, reply_to=wish.reply_to, completes_job=False
    )


def _hold(job: Job, terms: pricing.Terms, model: ResolvedModel, bound: bounds.Bound) -> None:
    """Hold what the job may come to with this call. A flat job holds its price once."""
    if not terms.is_metered:
        if job.held_micros == 0 and terms.price_micros > 0:
            ledger.hold(job.team, job=str(job.pk), amount_micros=terms.price_micros)
            job.held_micros = terms.price_micros
        return
    if terms.mode == pricing.Mode.METERED_USD and not model.has_prices:
        raise PricesMissing(
            f"Model '{model.asked}' has no price, so a job metered in USD cannot use it. Ask the operator to set"
            " its prices."
        )
    needed = lifecycle.needed_hold(
        job, terms, more_nanousd=bound.nanousd, more_tokens=bound.input_tokens + bound.output_tokens
    )
    if needed > job.held_micros:
        ledger.extend(job.team, job=str(job.pk), to_micros=needed)
        job.held_micros = needed


def _record_refusal(principal: Principal, error: DomainError, *, subject: str) -> None:
    audit.emit(
        "call.refused",
        subject=subject[:255],
        organization_id=principal.organization.organization_id,
        team_id=principal.team.team_id,
        code=error.code,
        message=error.message,
        key_id=principal.key_id,
        **error.details,
    )
