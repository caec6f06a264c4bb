"""LLM calls: llm-call, create-and-call, and the answer that outlived its wait.

A view admits the call, publishes its id and waits for the worker; it holds no connection meanwhile.
"""

import time
from typing import Annotated, Any, Literal

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from pydantic import Field, StringConstraints, field_validator, model_validator
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present
from apps.api.authentication import EitherView, KeyView
from apps.api.idempotent import answer
from apps.api.jobs import JobType, operator_job
from apps.api.parsing import Input, JSONObject, parse
from apps.core import crypto
from apps.core.clock import iso
from apps.core.db import patiently
from apps.core.errors import DomainError, Failed, InvalidRequest, RateLimited, Unavailable
from apps.credits import billing
from apps.jobs import dispatch, replies, services
from apps.jobs.errors import CallStillRunning
from apps.jobs.models import Call

# How long past its wait a caller is kept when the database is away just then.
DATABASE_PATIENCE_S = 2.0
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
# What is passed on to the model, in OpenAI's names.
PARAMETERS = (
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "response_format",
    "tools",
    "tool_choice",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "stop",
)
Penalty = Annotated[float, Field(ge=-2, le=2)]
Tokens = Annotated[int, Field(ge=1, le=10_000_000)]
ModelName = Annotated[str, StringConstraints(max_length=255)]


class CallInput(Input):
    """What every kind of call takes: messages, a name to call, and the model's parameters."""

    messages: Annotated[list[JSONObject], Field(min_length=1, max_length=10_000)]
    model: ModelName | None = None
    model_group: ModelName | None = None
    purpose: Annotated[str, StringConstraints(max_length=200)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.7
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    response_format: JSONObject | None = None
    tools: list[JSONObject] | None = None
    tool_choice: Literal["none", "auto", "required"] | JSONObject | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    stop: str | list[str] | None = None

    @field_validator("messages")
    @classmethod
    def _have_roles(cls, value: list[JSONObject]) -> list[JSONObject]:
        for index, message in enumerate(value):
            if message.get("role") not in ROLES:
                raise ValueError(f"messages[{index}].role must be one of: {', '.join(ROLES)}")
            if not isinstance(message.get("content"), str | list | None):
                raise ValueError(f"messages[{index}].content must be text, a list of parts, or null")
        return value

    def wanted(self) -> str | None:
        """The name asked for: `model` before `model_group`, neither for the team's default."""
        return self.model or self.model_group or None

    def body(self) -> dict[str, Any]:
        """OpenAI's request, without the model."""
        given = {name: getattr(self, name) for name in PARAMETERS}
        return {"messages": self.messages} | {name: value for name, value in given.items() if value is not None}


class LlmCallInput(CallInput):
    """A call into an open job."""

    call_metadata: JSONObject | None = None


class CreateAndCallInput(CallInput):
    """A job with one call, in one request."""

    team_id: str
    job_type: JobType
    user_id: Annotated[str, StringConstraints(max_length=255)] | None = None
    job_metadata: JSONObject | None = None

    @model_validator(mode="before")
    @classmethod
    def _synonym(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("job_metadata") is None and isinstance(data.get("metadata"), dict):
            return {**data, "job_metadata": data["metadata"]}
        return data


class CallView(KeyView):
    """Admits a call and waits for it, within the places this process has for waiting callers."""

    starts_work = True
    shows_job = False

    def request_of(self, body: CallInput, request: Request, **more: Any) -> services.CallRequest:
        return services.CallRequest(
            body=body.body(),
            # The credential is part of it: nobody is given an answer that another key asked for.
            fingerprint=crypto.fingerprint(self.principal.key_id.encode(), self.fingerprint(request).encode()),
            model=body.wanted(),
            purpose=body.purpose or "",
            **more,
        )

    def wait(self, submitted: services.Submitted, wait_s: float) -> Call:
        """The call once it has ended. Raises: CallStillRunning, or the call's own failure."""
        publish = (lambda: dispatch.publish_new(submitted.call_id)) if submitted.is_new else None
        ends_at = time.monotonic() + wait_s
        left_s = wait_s
        while True:
            woken = replies.mailbox().wait(submitted.call_id, timeout_s=left_s, publish=publish)
            call = self._found(submitted, until=ends_at + DATABASE_PATIENCE_S)
            if not call.is_open:
                return call
            publish = None
            left_s = ends_at - time.monotonic()
            if not woken or left_s <= 0:
                services.mark_unanswered(call.pk)
                raise still_running(call)

    def _found(self, submitted: services.Submitted, *, until: float) -> Call:
        """The call as it is now. A caller who must be sent away because the database is gone is remembered."""
        job_id, call_id = str(submitted.job_id), str(submitted.call_id)
        try:
            return patiently(
                lambda: services.find_answered(self.principal.team, job_id, call_id, with_job=self.shows_job),
                until=until,
            )
        except (DatabaseError, InterfaceError):
            replies.mailbox().owe(call_id)
            raise


class LlmCall(CallView):
    """POST /api/jobs/{job_id}/llm-call"""

    def post(self, request: Request, job_id: str) -> Response:
        body = parse(LlmCallInput, request)
        wait_s = wanted_wait(request)
        mailbox = replies.mailbox()
        with mailbox.place():
            submitted = services.submit_call(
                self.principal,
                self.request_of(body, request, call_metadata=body.call_metadata),
                job_id=job_id,
                wait_s=wait_s,
                reply_to=mailbox.name,
                idempotent=self.idempotent(request),
            )
            call = self.wait(submitted, wait_s)
        if call.state != Call.State.SUCCEEDED:
            raise failure(call)
        return with_ids(answer(present.answer(call), is_replay=submitted.is_replay), call)


class CreateAndCall(CallView):
    """POST /api/jobs/create-and-call"""

    shows_job = True

    def post(self, request: Request) -> Response:
        body = parse(CreateAndCallInput, request)
        self.require_own_team(body.team_id)
        wait_s = wanted_wait(request)
        mailbox = replies.mailbox()
        with mailbox.place():
            submitted = services.submit_one_call_job(
                self.principal,
                services.NewJob(body.job_type, body.user_id or "", body.job_metadata or {}),
                self.request_of(body, request),
                wait_s=wait_s,
                reply_to=mailbox.name,
                idempotent=self.idempotent(request),
            )
            call = self.wait(submitted, wait_s)
        if call.state != Call.State.SUCCEEDED:
            raise failure(call)
        team = self.principal.team
        job = call.job
        figures = present.costs(job, billing.balance(team), show_costs=billing.shows_costs(team))
        data = present.answer(call) | {
            "status": job.wire_status,
            "costs": figures,
            "completed_at": iso(job.completed_at),
            "credits_remaining": figures["credits_remaining"],
        }
        return with_ids(answer(data, is_replay=submitted.is_replay), call)


class OneCall(EitherView):
    """GET /api/jobs/{job_id}/calls/{call_id}: a call's state, and its answer when it has one."""

    def get(self, request: Request, job_id: str, call_id: str) -> Response:
        principal = self.caller.principal
        team = principal.team if principal else operator_job(job_id).team
        call = services.find_call(team, job_id, call_id)
        if call.state == Call.State.SUCCEEDED:
            return with_ids(Response(present.answer(call)), call)
        body: dict[str, Any] = {"call_id": str(call.pk), "job_id": str(call.job_id), "status": call.state}
        if call.is_open:
            response = Response(body)
            response["Retry-After"] = "2"
            return with_ids(response, call)
        error = {"status": call.error_status, "code": call.error_code, "detail": call.error_message}
        return with_ids(Response(body | {"error": error}), call)


def wanted_wait(request: Request) -> float:
    """Seconds to wait: `Prefer: wait=N` (RFC 7240) up to CALL_WAIT_MAX_S, else CALL_WAIT_S."""
    for preference in request.META.get("HTTP_PREFER", "").split(","):
        name, _, value = preference.strip().partition("=")
        value = value.strip().strip('"')
        if name.strip().lower() == "wait" and value.isdecimal() and len(value) < 7:
            return float(min(int(value), settings.CALL_WAIT_MAX_S))
    return float(settings.CALL_WAIT_S)


def still_running(call: Call) -> CallStillRunning:
    """The wait is over, the call is not."""
    url = f"/api/jobs/{call.job_id}/calls/{call.pk}"
    return CallStillRunning(
        f"The call is still running. Its answer will be at {url}.",
        retry_after_s=2,
        job_id=str(call.job_id),
        call_id=str(call.pk),
        url=url,
    )


_KINDS: dict[int, type[DomainError]] = {400: InvalidRequest, 429: RateLimited, 500: Failed, 503: Unavailable}


def failure(call: Call) -> DomainError:
    """A failed call as the error its caller gets: 400, 429, 500 or 503, never 502 or 504."""
    error = _KINDS.get(call.error_status or 500, Failed)(
        call.error_message or "LLM call failed",
        retry_after_s=call.retry_after_s,
        job_id=str(call.job_id),
        call_id=str(call.pk),
    )
    error.code = call.error_code or error.code
    return error


def with_ids(response: Response, call: Call) -> Response:
    """Name job and call in the headers too."""
    response["X-Job-Id"] = str(call.job_id)
    response["X-Call-Id"] = str(call.pk)
    return response
