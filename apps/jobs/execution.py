"""The worker's side: claim a call, ask the gateway, settle. No connection is held while the provider works.

A claim's number fences: who lost its lease settles nothing. See docs/architecture.md, "The call path".
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import orjson
from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, transaction
from django.db.models.functions import Now

from apps.core.combining import Combiner
from apps.core.db import is_postgresql, release_connection
from apps.core.ids import parse_uuid
from apps.credits.pricing import token_cost_nanousd
from apps.jobs import bounds, candidates, crew, leases, lifecycle, replies, statements, targets, validity
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
# Usage above this multiple of the bound (plus a floor) is absurd: a provider's bug, not a long answer.
_ABSURD_FACTOR = 10
_ABSURD_FLOOR_TOKENS = 100_000


@dataclass(slots=True)
class Claimed:
    """A call that is ours to make, under this claim, and its try that runs."""

    call: Call
    attempt_id: Any
    seconds_left: float
    # One for all tries: its pieces are numbered through.
    relay: Relay | None = None


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
        release_connection()
        started = time.monotonic()
        try:
            outcome = _ask(claimed)
        except Exception:
            # Of ours, or of an answer that nobody thought of: made again it would only meet the same.
            log.exception("call %s failed by a defect", call.pk)
            outcome = _failed(call, failures.malformed(), started)
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
            lifecycle.lock_job(call.job_id)
            _abandon_earlier(call)
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


def _abandon_earlier(call: Call) -> None:
    """An earlier claim's try may have cost something: estimated, at the platform's cost."""
    prompt = bounds.estimated_tokens(len(call.payload.request.encode()))
    cost = lost_cost_nanousd(call, call.payload.request)
    abandoned = Attempt.objects.filter(call=call, state=Attempt.State.RUNNING).update(
        state=Attempt.State.ABANDONED,
        ended_at=Now(),
        prompt_tokens=prompt,
        cost_nanousd=cost,
        is_estimated=True,
        error_code="worker_lost",
    )
    if abandoned and cost:
        lifecycle.add_lost_cost(call.job_id, cost * abandoned)


def _ask(claimed: Claimed) -> Outcome:
    """Ask the call's models in turn until one answers, as an outcome.

    Each is a try of its own. Nothing is asked again of which the caller has had a part.
    """
    call, started = claimed.call, time.monotonic()
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
            candidates.note(current, has_failed=error.is_retryable)
            following = next((each for each in left if candidates.may_follow(error, current, each)), None)
            outcome = _failed(call, error, started)
            if following is None or time.monotonic() - started > claimed.seconds_left - 1:
                return outcome
            log.info(
                "call %s: %s failed (%s), trying %s", call.pk, current.model_used, error.code, following.model_used
            )
            left = left[left.index(following) + 1 :]
            if not _turn_to(claimed, following, outcome):
                return outcome
            current = following
        else:
            candidates.note(current, has_failed=False)
            unfit = _unfit(call, outcome) if call.validates else None
            if unfit is None:
                return outcome
            is_over = time.monotonic() - started > claimed.seconds_left - 1
            if asks_again == 0 or is_over or not _turn_to(claimed, current, unfit):
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
)


def _turn_to(claimed: Claimed, model: Candidate, failed: Outcome) -> bool:
    """End the try that failed and begin one of another model. False when the call is another claim's by now, or the
    database is away: then the failure stands."""
    call = claimed.call
    try:
        with transaction.atomic():
            # The job first, as everywhere.
            lifecycle.lock_job(call.job_id)
            ours = Call.objects.filter(pk=call.pk, claim=call.claim, state=Call.State.RUNNING)
            if not ours.update(**{name: getattr(model, name) for name in _MODEL_COLUMNS}):
                return False
            if failed.lost_cost_nanousd:
                lifecycle.add_lost_cost(call.job_id, failed.lost_cost_nanousd)
            Attempt.objects.filter(call=call, claim=call.claim, state=Attempt.State.RUNNING).update(
                state=Attempt.State.FAILED,
                ended_at=Now(),
                cost_nanousd=failed.lost_cost_nanousd,
                is_estimated=failed.is_estimated,
                latency_ms=failed.latency_ms,
                error_code=failed.error_code,
            )
            attempt = Attempt(
                call=call,
                claim=call.claim,
                route=model.route,
                provider_model=model.provider_model,
                worker=leases.worker_name(),
            )
            attempt.save(force_insert=True)
    except (DatabaseError, InterfaceError) as error:
        log.warning("call %s: no other model is tried, the database is away: %s", call.pk, type(error).__name__)
        return False
    finally:
        release_connection()
    claimed.attempt_id = attempt.pk
    _set_model(call, model)
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


def _failed(call: Call, error: GatewayError, started: float) -> Outcome:
    log.info("call %s failed: %s", call.pk, error.code)
    return Outcome(
        Call.State.FAILED,
        latency_ms=_ms_since(started),
        lost_cost_nanousd=lost_cost_nanousd(call, call.payload.request) if error.was_executed else 0,
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
            lost_cost_nanousd=lost_cost_nanousd(call, call.payload.request),
            is_estimated=True,
            error_code="call_cancelled",
            error_status=503,
            error_message="LLM call failed: the caller left",
        )
    served = _served(call, assembly.completion(finish_reason="length"), latency_ms=_ms_since(started))
    if not served.is_estimated:
        return served
    prompt, output, cost = delivered_usage(call, call.payload.request, assembly.delivered_bytes)
    return replace(served, prompt_tokens=prompt, completion_tokens=output, cost_nanousd=cost)


def _served(call: Call, completion: Completion, *, latency_ms: int) -> Outcome:
    answer = orjson.dumps(
        {
            "id": completion.provider_id or f"chatcmpl-{call.pk.hex}",
            "created": completion.created,
            "choices": completion.choices,
        }
    ).decode()
    return _succeeded(call, completion, answer, answer_bytes=len(answer.encode()), latency_ms=latency_ms)


def _succeeded(call: Call, completion: Completion, answer: str, *, answer_bytes: int, latency_ms: int) -> Outcome:
    prompt, output, is_estimated = _usage(call, completion, answer_bytes=answer_bytes)
    cost = _cost(call, prompt, output)
    if call.input_nanousd_per_mtok is None and completion.cost_nanousd is not None:
        # A price of our own wins; what the backend reports is used where there is none.
        cost = completion.cost_nanousd
    return Outcome(
        Call.State.SUCCEEDED,
        prompt_tokens=prompt,
        completion_tokens=output,
        cost_nanousd=cost,
        is_estimated=is_estimated,
        raw_usage=completion.raw_usage,
        latency_ms=latency_ms,
        resolved_model=completion.resolved_model,
        response=answer,
    )


def _usage(call: Call, completion: Completion, *, answer_bytes: int) -> tuple[int, int, bool]:
    """Tokens in and out, and whether they are our own count: for usage that is missing, negative or absurd."""
    usage = completion.usage
    if (
        usage is not None
        and usage.prompt_tokens <= _ABSURD_FACTOR * call.bound_input_tokens + _ABSURD_FLOOR_TOKENS
        and usage.completion_tokens <= _ABSURD_FACTOR * call.bound_output_tokens + _ABSURD_FLOOR_TOKENS
    ):
        return usage.prompt_tokens, usage.completion_tokens, False
    prompt = min(bounds.estimated_tokens(len(call.payload.request.encode())), call.bound_input_tokens)
    return prompt, min(bounds.estimated_tokens(answer_bytes), call.bound_output_tokens), True


def lost_cost_nanousd(call: Call, request: str) -> int:
    """What a try may have cost of which no usage is known: its input, estimated, by the price frozen on the call."""
    return _cost(call, bounds.estimated_tokens(len(request.encode())), 0)


def delivered_usage(call: Call, request: str, delivered_bytes: int) -> tuple[int, int, int]:
    """Tokens in and out, and nano-dollars, of a stream of which only what was sent on is known."""
    prompt = min(bounds.estimated_tokens(len(request.encode())), call.bound_input_tokens)
    output = min(bounds.estimated_tokens(delivered_bytes), call.bound_output_tokens)
    return prompt, output, _cost(call, prompt, output)


def _cost(call: Call, prompt_tokens: int, completion_tokens: int) -> int:
    """Nano-dollars by the price frozen on the call; 0 when it has none."""
    if call.input_nanousd_per_mtok is None or call.output_nanousd_per_mtok is None:
        return 0
    return token_cost_nanousd(
        input_tokens=prompt_tokens,
        output_tokens=completion_tokens,
        input_nanousd_per_mtok=call.input_nanousd_per_mtok,
        output_nanousd_per_mtok=call.output_nanousd_per_mtok,
    )


def _unsettled(outcome: Outcome) -> Outcome:
    """What becomes of an answer that the database will not take."""
    return Outcome(
        Call.State.FAILED,
        lost_cost_nanousd=outcome.cost_nanousd,
        is_estimated=outcome.is_estimated,
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


_ends: Combiner[lifecycle.End, bool | None] = Combiner(_end_many, most=64)


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
