"""LLM calls: llm-call, create-and-call, and the answer that outlived its wait.

A view admits the call, publishes its id and waits for the worker; it holds no connection meanwhile.
"""

from typing import Annotated, Any, Literal

from django.conf import settings
from pydantic import Field, StringConstraints, field_validator, model_validator
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present
from apps.api.authentication import EitherView, KeyView
from apps.api.budgets import BudgetInput
from apps.api.display import display_of_job
from apps.api.idempotent import answer
from apps.api.jobs import JobType, operator_job
from apps.api.parsing import Input, JSONObject, parse
from apps.core import crypto
from apps.core.clock import iso
from apps.core.errors import DomainError
from apps.credits import billing
from apps.jobs import escrow, refusals, replies, services, waiting
from apps.jobs.models import Call
from apps.organizations.rights import Right
from apps.virtual_keys.services import Principal

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
TOOLS = ("function", "custom")
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
    validates: Annotated[bool, Field(alias="validate")] = False
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
            for part in content if isinstance(content := message.get("content"), list) else []:
                if isinstance(part, dict) and "file_id" in (part.get("file") or {}):
                    # It names a file in the provider's account, which may be another customer's.
                    raise ValueError(f"messages[{index}]: a file must come in the request itself, as file_data")
        return value

    @field_validator("tools")
    @classmethod
    def _are_the_caller_s(cls, value: list[JSONObject] | None) -> list[JSONObject] | None:
        # Any other kind is run by the provider (search, code, MCP), at prices that nobody agreed on.
        for index, tool in enumerate(value or []):
            if tool.get("type") not in TOOLS:
                raise ValueError(f"tools[{index}].type must be one of: {', '.join(TOOLS)}")
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


class CreateAndCallInput(CallInput, BudgetInput):
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

    def require_may(self, principal: Principal, request: Request) -> None:
        try:
            super().require_may(principal, request)
        except DomainError as error:
            refusals.record_early(principal, error, job_id=self.kwargs.get("job_id", ""))
            raise

    def request_of(self, body: CallInput, request: Request, **more: Any) -> services.CallRequest:
        return services.CallRequest(
            body=body.body(),
            # The credential is part of it: nobody is given an answer that another key asked for.
            fingerprint=crypto.fingerprint(self.principal.key_id.encode(), self.fingerprint(request).encode()),
            model=body.wanted(),
            purpose=body.purpose or "",
            validates=body.validates,
            **more,
        )

    def wait(self, submitted: services.Submitted, wait_s: float) -> Call:
        """The call once it has succeeded. Raises: CallStillRunning, or the call's own failure."""
        with_job = self.shows_job or submitted.has_ceiling
        call = waiting.wait(self.principal.team, submitted, wait_s, with_job=with_job)
        if call.state != Call.State.SUCCEEDED:
            raise waiting.failure(call, headers=submitted.headers)
        return call


class LlmCall(CallView):
    """POST /api/jobs/{job_id}/llm-call"""

    def post(self, request: Request, job_id: str) -> Response:
        body = parse(LlmCallInput, request)
        wait_s = waiting.wanted_wait(request.META, default_s=settings.CALL_WAIT_S)
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
        data = present.answer(call) | {"escrow": escrow.of_call(call)}
        return _with_limits(with_ids(answer(data, is_replay=submitted.is_replay), call), submitted)


class CreateAndCall(CallView):
    """POST /api/jobs/create-and-call"""

    shows_job = True

    def post(self, request: Request) -> Response:
        body = parse(CreateAndCallInput, request)
        self.require_own_team(body.team_id)
        wait_s = waiting.wanted_wait(request.META, default_s=settings.CALL_WAIT_S)
        mailbox = replies.mailbox()
        with mailbox.place():
            submitted = services.submit_one_call_job(
                self.principal,
                services.NewJob(body.job_type, body.user_id or "", body.job_metadata or {}, body.budget()),
                self.request_of(body, request),
                wait_s=wait_s,
                reply_to=mailbox.name,
                idempotent=self.idempotent(request),
            )
            call = self.wait(submitted, wait_s)
        team = self.principal.team
        job = call.job
        show_costs = billing.shows_costs(team)
        figures = present.costs(job, billing.balance(team), show_costs=show_costs)
        figures |= display_of_job(self.principal.organization, job, show_costs=show_costs)
        data = present.answer(call) | {
            "status": job.wire_status,
            "costs": figures,
            "completed_at": iso(job.completed_at),
            "credits_remaining": figures["credits_remaining"],
            "escrow": escrow.as_wire(job),
        }
        return _with_limits(with_ids(answer(data, is_replay=submitted.is_replay), call), submitted)


class OneCall(EitherView):
    """GET /api/jobs/{job_id}/calls/{call_id}: a call's state, and its answer when it has one."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, job_id: str, call_id: str) -> Response:
        principal = self.caller.principal
        team = principal.team if principal else operator_job(job_id).team
        call = services.find_call(team, job_id, call_id)
        if call.state == Call.State.SUCCEEDED:
            self.caller.require(Right.CONTENT_VIEW)
            return with_ids(Response(present.answer(call) | {"escrow": escrow.of_call(call)}), call)
        body: dict[str, Any] = {"call_id": str(call.pk), "job_id": str(call.job_id), "status": call.state}
        if call.is_open:
            response = Response(body)
            response["Retry-After"] = "2"
            return with_ids(response, call)
        error = {"status": call.error_status, "code": call.error_code, "detail": call.error_message}
        return with_ids(Response(body | {"error": error}), call)


def _with_limits(response: Response, submitted: services.Submitted) -> Response:
    """Tell what rate limits leave."""
    for name, value in submitted.headers.items():
        response[name] = value
    return response


def with_ids(response: Response, call: Call) -> Response:
    """Name job and call in the headers too."""
    response["X-Job-Id"] = str(call.job_id)
    response["X-Call-Id"] = str(call.pk)
    return response
