"""Whether a call may enter its job, what is held for it, and the call as it is then queued.

Under the job's lock; a refusal raises, and the caller rolls everything back.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from django.conf import settings

from apps.catalog import limits
from apps.catalog import services as catalog
from apps.catalog.services import ResolvedModel
from apps.core import clock, json_bytes
from apps.core.errors import InvalidField
from apps.credits import ledger, pricing
from apps.credits.errors import PricesMissing
from apps.jobs import bounds, candidates, escrow, lifecycle, media, spending, statements, validity
from apps.jobs.errors import JobClosed, JobCostCap, TooManyCalls
from apps.jobs.models import Call, CallPayload, Job
from apps.limits.gate import Passage
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


def attach_window() -> timedelta:
    return timedelta(seconds=settings.ATTACH_WINDOW_S)


def admit(
    principal: Principal,
    job: Job,
    request: CallRequest,
    passage: Passage,
    window_ids: list[int],
    *,
    wait_s: float,
    reply_to: str,
    completes_job: bool,
) -> Call:
    """Check, hold and queue, under the job's lock. `job.team` is fresh.

    `window_ids` are the spend windows that the job counts in if this is its first call, or its key's first.
    """
    require_active(job.team.status, job.team.organization.status)
    if job.is_closed:
        raise JobClosed(f"Job is already {job.wire_status}")
    escrow.require_in_time(job)
    if job.total_calls >= settings.CALLS_PER_JOB_MAX:
        raise TooManyCalls(f"A job may have {settings.CALLS_PER_JOB_MAX} calls. Open another job.")
    call_metadata = call_metadata_of(job, request)
    model = model_for(job.team, principal, request)
    terms = lifecycle.terms_of(job)
    if terms is None:
        terms = freeze(job, pricing.terms_in_force(job.team, job.job_type))
    if job.total_calls == 0:
        spending.begin(job, window_ids, before=passage)
    else:
        spending.join(job, window_ids, before=passage)
    bound = bounds.of_call(request.body, model)
    with spending.counted(job, before=passage):
        hold_for_call(job, terms, model, bound)
    call, payload = entered(
        job, request, terms, model, bound, call_metadata, reply_to=reply_to, completes_job=completes_job
    )
    call.taken = passage.taken
    statements.admit(
        job,
        call,
        payload,
        deadline_in=timedelta(seconds=settings.CALL_DEADLINE_S),
        wait_in=timedelta(seconds=taken_within_s(wait_s)),
        publish_in=timedelta(seconds=settings.REPUBLISH_AFTER_S),
    )
    return call


def model_for(team: Team, principal: Principal, request: CallRequest) -> ResolvedModel:
    """The model that is asked for, and those of its fallbacks that can answer.

    Raises: ModelNotAllowed, NoModelAvailable, ModelGroupUnavailable, InvalidField for what none of them can do.
    """
    validity.require_usable(request.body)
    media.require_fetchable(request.body)
    if request.validates and not validity.is_json_wanted(request.body.get("response_format")):
        raise InvalidField("validate", "validate needs a response_format of type json_schema or json_object.")
    if request.validates and request.is_streamed:
        raise InvalidField("validate", "validate is not for streams: what was sent cannot be taken back.")
    model = catalog.resolve_cached(team, request.model, only=principal.models_allowed)
    return limits.able(model, request.body)


def freeze(job: Job, terms: pricing.Terms) -> pricing.Terms:
    """Fix the job's pricing, at its first call."""
    job.terms = terms.frozen()
    return terms


def taken_within_s(wait_s: float) -> float:
    """A little longer than the caller waits, so that an answer at the last moment is not thrown away."""
    return wait_s + 2


def call_metadata_of(job: Job, request: CallRequest) -> bytes:
    """The call's metadata as JSON, nothing without any. Raises: InvalidField past what a job may have."""
    if not request.call_metadata:
        return b""
    require_metadata_fits(
        "call_metadata",
        {**job.metadata, **request.call_metadata},
        already_bytes=job.pending_metadata_bytes,
    )
    return orjson.dumps(request.call_metadata)


def entered(
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
        price_id=model.price_id,
        price_source=model.price_source,
        candidates=candidates.frozen(model, only_priced=terms.needs_prices),
        # A flat job's caller may leave the length to the model; a metered one's hold rests on the cap.
        max_output_tokens=bound.output_cap if terms.rests_on_bounds else None,
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


def hold_for_call(job: Job, terms: pricing.Terms, model: ResolvedModel, bound: bounds.Bound) -> None:
    """Hold what the job may come to with this call. A flat job holds its price once.

    Raises: PricesMissing, JobCostCap, InsufficientCredits; nothing is held then.
    """
    if terms.needs_prices and not model.has_prices:
        raise PricesMissing(
            f"Model '{model.asked}' has no price, so a job whose price or cap rests on cost in USD cannot use it. Ask"
            " the operator to set its prices."
        )
    if terms.cost_cap_nanousd is not None:
        caused = job.provider_cost_nanousd + job.lost_cost_nanousd + job.open_bound_nanousd
        if caused + bound.nanousd > terms.cost_cap_nanousd:
            # Without figures: what providers take is not told to customers.
            told = dict.fromkeys(("used", "held", "allowed", "unit", "resets_at"))
            raise JobCostCap(limit="cost_cap", scope="job", id=str(job.pk), **told)
    if not terms.is_metered:
        escrow.require_room(job, lambda _: terms.price_micros)
        if job.held_micros == 0 and terms.price_micros > 0:
            held = ledger.hold(job.team, job=str(job.pk), amount_micros=terms.price_micros, job_type=job.job_type)
            if held.amount_micros < terms.price_micros:
                # Of a reservation that was given back.
                ledger.extend(job.team, job=str(job.pk), to_micros=terms.price_micros, job_type=job.job_type)
            job.held_micros = terms.price_micros
        return

    def needed_of(locked: Job) -> int:
        return lifecycle.needed_hold(
            locked, terms, more_nanousd=bound.nanousd, more_tokens=bound.input_tokens + bound.output_tokens
        )

    escrow.require_room(job, needed_of)
    needed = needed_of(job)
    if needed > job.held_micros:
        ledger.extend(job.team, job=str(job.pk), to_micros=needed, job_type=job.job_type)
        job.held_micros = needed


def require_metadata_fits(name: str, metadata: dict[str, Any], *, already_bytes: int = 0) -> None:
    """Raises: InvalidField when a job's metadata would exceed METADATA_MAX_BYTES as JSON."""
    size = len(json_bytes.dumps(metadata)) + already_bytes
    if size > settings.METADATA_MAX_BYTES:
        raise InvalidField(
            name,
            f"A job's metadata may have {settings.METADATA_MAX_BYTES} bytes as JSON; this would make it {size}.",
            kind="too_long",
        )
