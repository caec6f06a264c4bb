"""Asking the gateway for a claimed call: its models in turn, each a try of its own, until there is an outcome."""

import logging
import time
from dataclasses import dataclass, replace
from typing import Any

import orjson
from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, transaction
from django.db.models.functions import Now

from apps.core.db import patiently, release_connection
from apps.jobs import bounds, candidates, leases, lifecycle, metering, targets, validity
from apps.jobs.candidates import Candidate
from apps.jobs.gateway import failures, schemas
from apps.jobs.gateway.interface import (
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    Gateway,
    GatewayError,
    Target,
)
from apps.jobs.gateway.routes import gateway_for
from apps.jobs.lifecycle import Outcome
from apps.jobs.models import Attempt, Call
from apps.jobs.streaming import marks
from apps.jobs.streaming.assembly import Assembly
from apps.jobs.streaming.relay import Relay

log = logging.getLogger("saasllm.execution")


@dataclass(slots=True)
class Claimed:
    """A call that is ours to make, under this claim, and its try that runs."""

    call: Call
    attempt_id: Any
    seconds_left: float
    # One for all tries: its pieces are numbered through.
    relay: Relay | None = None


def ask(claimed: Claimed) -> Outcome:
    """Ask the call's models in turn until one answers, as an outcome.

    Each is a try of its own. Nothing is asked again of which the caller has had a part.
    """
    call, started = claimed.call, time.monotonic()
    until = started + claimed.seconds_left - 1
    left = candidates.of_call(call)
    asks_again = settings.VALIDATION_RETRIES if call.validates else 0
    current = left.pop(0)
    if any(getattr(current, name) != getattr(call, name) for name in _MODEL_COLUMNS):
        # The first one rests.
        _begin_with(call, current)
    while True:
        try:
            outcome = _try(claimed, current)
        except GatewayError as error:
            candidates.note(call, current, has_failed=error.is_retryable)
            following = next((each for each in left if candidates.may_follow(error, current, each)), None)
            outcome = failed(call, error, started)
            if following is None or time.monotonic() > until:
                return outcome
            log.info(
                "call %s: %s failed (%s), trying %s", call.pk, current.model_used, error.code, following.model_used
            )
            left = left[left.index(following) + 1 :]
            if not _turn_to(claimed, following, outcome, until=until):
                return outcome
            current = following
        else:
            candidates.note(call, current, has_failed=False)
            unfit = _unfit(call, outcome) if call.validates else None
            if unfit is None:
                return outcome
            is_over = time.monotonic() > until
            if asks_again == 0 or is_over or not _turn_to(claimed, current, unfit, until=until):
                return unfit
            asks_again -= 1


def _unfit(call: Call, outcome: Outcome) -> Outcome | None:
    """The failure that an answer is which does not fit its format, at the platform's cost; None when it fits."""
    problem = validity.problem(outcome.response, orjson.loads(call.payload.request).get("response_format"))
    if not problem:
        return None
    log.info("call %s: the answer does not fit its format", call.pk)
    return Outcome(
        Call.State.FAILED,
        latency_ms=outcome.latency_ms,
        lost_cost_nanousd=outcome.cost_nanousd,
        is_estimated=outcome.is_estimated,
        usage_mismatch=outcome.usage_mismatch,
        raw_usage=outcome.raw_usage,
        error_code="answer_unfit",
        error_status=500,
        error_message=f"LLM call failed: the model's answer does not fit the response_format ({problem})"[:1000],
    )


def _try(claimed: Claimed, model: Candidate) -> Outcome:
    """One try at the provider. The gateway raises nothing but GatewayError."""
    call, started = claimed.call, time.monotonic()
    gateway = gateway_for(call.route)
    target = targets.of_call(call, until=started + claimed.seconds_left)
    timeout_s = min(model.timeout_s or settings.GATEWAY_TIMEOUT_S, claimed.seconds_left)
    if call.kind == Call.Kind.EMBEDDING:
        embeddings = gateway.embed(_embedding_request(claimed, target), timeout_s=timeout_s)
        return _embedded(call, embeddings, latency_ms=_ms_since(started))
    if call.is_streamed:
        return _ask_for_stream(claimed, gateway, target, timeout_s=timeout_s)
    completion = gateway.complete(_request(claimed, target), timeout_s=timeout_s)
    return _served(call, completion, latency_ms=_ms_since(started))


def _begin_with(call: Call, model: Candidate) -> None:
    """Another model than the first is asked first: the call and its try, not yet begun, say so."""
    ours = Attempt.objects.filter(call=call, claim=call.claim, state=Attempt.State.RUNNING)
    try:
        ours.update(route=model.route, provider_model=model.provider_model)
        Call.objects.filter(pk=call.pk, claim=call.claim).update(
            **{name: getattr(model, name) for name in _MODEL_COLUMNS}
        )
    except (DatabaseError, InterfaceError) as error:
        # What was asked is then told less exactly; what it costs is not.
        log.warning("call %s: its model could not be noted: %s", call.pk, type(error).__name__)
    finally:
        release_connection()
    _set_model(call, model)


def _set_model(call: Call, model: Candidate) -> None:
    for name in _MODEL_COLUMNS:
        setattr(call, name, getattr(model, name))


_MODEL_COLUMNS = (
    "model_used",
    "route",
    "provider",
    "provider_model",
    "input_nanousd_per_mtok",
    "output_nanousd_per_mtok",
    "price_id",
    "price_source",
)


def _turn_to(claimed: Claimed, model: Candidate, failed: Outcome, *, until: float) -> bool:
    """End the try that failed and begin one of another model. False when the call is another claim's by now, or the
    database stays away until that instant of the monotonic clock: then the failure stands."""
    call = claimed.call
    attempt = Attempt(
        call=call,
        claim=call.claim,
        route=model.route,
        provider_model=model.provider_model,
        worker=leases.worker_name(),
    )
    try:
        if not patiently(lambda: _turned(claimed, attempt, model, failed), until=until):
            return False
    except (DatabaseError, InterfaceError) as error:
        log.warning("call %s: no other model is tried, the database is away: %s", call.pk, type(error).__name__)
        return False
    finally:
        release_connection()
    claimed.attempt_id = attempt.pk
    _set_model(call, model)
    return True


def _turned(claimed: Claimed, attempt: Attempt, model: Candidate, failed: Outcome) -> bool:
    """One transaction, which may be repeated after a commit whose reply was lost: the try that failed ends once, and
    what it cost is counted then alone."""
    call = claimed.call
    try:
        with transaction.atomic():
            # The job first, as everywhere.
            job = lifecycle.lock_job(call.job_id)
            ours = Call.objects.filter(pk=call.pk, claim=call.claim, state=Call.State.RUNNING)
            if not ours.update(**{name: getattr(model, name) for name in _MODEL_COLUMNS}):
                return False
            ended = Attempt.objects.filter(pk=claimed.attempt_id, state=Attempt.State.RUNNING).update(
                state=Attempt.State.FAILED,
                ended_at=Now(),
                cost_nanousd=failed.lost_cost_nanousd,
                is_estimated=failed.is_estimated,
                usage_mismatch=failed.usage_mismatch,
                latency_ms=failed.latency_ms,
                error_code=failed.error_code,
            )
            if not ended:
                return Attempt.objects.filter(pk=attempt.pk).exists()
            lifecycle.add_lost_cost(job, failed.lost_cost_nanousd)
            attempt.save(force_insert=True)
    except (DataError, IntegrityError) as error:
        # Never to be stored, however often it is tried.
        log.error("call %s: no other model is tried: %s", call.pk, type(error).__name__)
        return False
    return True


def _request(claimed: Claimed, target: Target | None) -> CompletionRequest:
    call = claimed.call
    body: dict[str, Any] = orjson.loads(call.payload.request)
    if call.max_output_tokens and not (body.get("max_tokens") or body.get("max_completion_tokens")):
        body["max_tokens"] = call.max_output_tokens
    if "response_format" in body:
        body["response_format"] = schemas.normalised(body["response_format"])
    return CompletionRequest(
        call_id=str(call.pk),
        attempt_id=str(claimed.attempt_id),
        team_id=call.team.team_id,
        provider_model=call.provider_model,
        body=body,
        target=target,
    )


def _embedding_request(claimed: Claimed, target: Target | None) -> EmbeddingRequest:
    call = claimed.call
    body: dict[str, Any] = orjson.loads(call.payload.request)
    return EmbeddingRequest(
        call_id=str(call.pk),
        attempt_id=str(claimed.attempt_id),
        team_id=call.team.team_id,
        provider_model=call.provider_model,
        input=body.pop("input"),
        options=body,
        target=target,
    )


def _embedded(call: Call, embeddings: Embeddings, *, latency_ms: int) -> Outcome:
    completion = Completion(
        provider_id="",
        created=0,
        resolved_model=embeddings.resolved_model,
        choices=[],
        usage=embeddings.usage,
        raw_usage=embeddings.raw_usage,
        cost_nanousd=embeddings.cost_nanousd,
    )
    answer = orjson.dumps({"embeddings": embeddings.vectors}).decode()
    return _succeeded(call, completion, answer, answer_bytes=0, latency_ms=latency_ms)


def _ms_since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)


def failed(call: Call, error: GatewayError, started: float) -> Outcome:
    log.info("call %s failed: %s", call.pk, error.code)
    return Outcome(
        Call.State.FAILED,
        latency_ms=_ms_since(started),
        lost_cost_nanousd=metering.lost_cost_nanousd(call, call.payload.request) if error.was_executed else 0,
        is_estimated=error.was_executed,
        error_code=error.code,
        error_status=error.status,
        error_message=f"LLM call failed: {error.reason}",
        retry_after_s=error.retry_after_s,
    )


def _ask_for_stream(claimed: Claimed, gateway: Gateway, target: Target | None, *, timeout_s: float) -> Outcome:
    """One try at a streamed answer, sent on as it comes. What was sent on is paid, however it ends.

    Raises: GatewayError while nothing was sent on.
    """
    call, started = claimed.call, time.monotonic()
    assembly = Assembly()
    relay = claimed.relay = claimed.relay or Relay(call.reply_to, call.pk, call.claim)
    ended: Outcome | None = None
    with marks.kept(marks.Progress(call.pk, call.claim)) as progress:
        chunks = gateway.stream(_request(claimed, target), timeout_s=timeout_s)
        try:
            for chunk in chunks:
                choices = assembly.add(chunk)
                if choices:
                    relay.send(choices)
                    is_first, progress.delivered_bytes = progress.delivered_bytes == 0, assembly.delivered_bytes
                    if is_first and progress.delivered_bytes:
                        progress.save_first()
                if progress.is_cancelled:
                    ended = _cut(call, assembly, started)
                    break
                if _is_past_its_hold(call, assembly):
                    break
        except GatewayError as error:
            if not assembly.delivered_bytes:
                raise
            log.info("call %s broke off: %s", call.pk, error.code)
            ended = _partial(call, assembly, started, error)
        except Exception as error:
            log.exception("call %s broke off by a defect", call.pk)
            if not assembly.delivered_bytes:
                raise failures.malformed() from error
            ended = _partial(call, assembly, started, failures.malformed())
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
    relay.flush(timeout_s=settings.REDIS_TIMEOUT_S)
    if ended is not None:
        return ended
    finish_reason = "length" if _is_past_its_hold(call, assembly) else None
    return _served(call, assembly.completion(finish_reason=finish_reason), latency_ms=_ms_since(started))


def _is_past_its_hold(call: Call, assembly: Assembly) -> bool:
    """Whether a metered call has been given more than was held for: its provider did not keep to the cap."""
    return bool(
        call.max_output_tokens and bounds.estimated_tokens(assembly.delivered_bytes) > call.bound_output_tokens
    )


def _partial(call: Call, assembly: Assembly, started: float, error: GatewayError) -> Outcome:
    """The end of a stream that broke off: what was sent on, by the provider's count or by ours."""
    return replace(
        _cut(call, assembly, started),
        state=Call.State.FAILED,
        is_delivered=True,
        error_code=error.code,
        error_status=error.status,
        error_message=f"LLM call failed: {error.reason}",
    )


def _cut(call: Call, assembly: Assembly, started: float) -> Outcome:
    """The end of a stream that its caller wanted no more of: what was sent on is the answer, if anything was."""
    if not assembly.delivered_bytes:
        return Outcome(
            Call.State.CANCELLED,
            latency_ms=_ms_since(started),
            lost_cost_nanousd=metering.lost_cost_nanousd(call, call.payload.request),
            is_estimated=True,
            error_code="call_cancelled",
            error_status=503,
            error_message="LLM call failed: the caller left",
        )
    served = _served(call, assembly.completion(finish_reason="length"), latency_ms=_ms_since(started))
    if not served.is_estimated:
        return served
    prompt, output, cost = metering.delivered_usage(call, call.payload.request, assembly.delivered_bytes)
    return replace(
        served, prompt_tokens=prompt, completion_tokens=output, cost_nanousd=cost, price_source=call.price_source
    )


def _served(call: Call, completion: Completion, *, latency_ms: int) -> Outcome:
    # Without the provider's id, whose form tells whose it is: an answer's id is made of its call's.
    answer = orjson.dumps({"created": completion.created, "choices": completion.choices}).decode()
    return _succeeded(call, completion, answer, answer_bytes=len(answer.encode()), latency_ms=latency_ms)


def _succeeded(call: Call, completion: Completion, answer: str, *, answer_bytes: int, latency_ms: int) -> Outcome:
    metered = metering.of_answer(call, completion, answer_bytes=answer_bytes)
    return Outcome(
        Call.State.SUCCEEDED,
        prompt_tokens=metered.prompt_tokens,
        completion_tokens=metered.completion_tokens,
        usage_classes=metered.classes,
        cost_nanousd=metered.cost_nanousd,
        price_source=metered.price_source,
        is_estimated=metered.is_estimated,
        usage_mismatch=metered.has_mismatch,
        raw_usage=completion.raw_usage,
        latency_ms=latency_ms,
        resolved_model=completion.resolved_model,
        response=answer,
    )
