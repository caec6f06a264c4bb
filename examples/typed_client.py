"""Typed asyncio client of the SaaS LiteLLM API; needs httpx and pydantic 2, Python 3.10 or newer.

One file, to be copied into your project. A status that is not 2xx raises a subclass of httpx.HTTPStatusError
whose text holds the server's `detail`. What the caller leaves out is not sent: the server's defaults apply.
"""

import json
import re
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field

__all__ = [
    "AccessDenied",
    "AuthenticationError",
    "ChatChoice",
    "ChatCompletionChunk",
    "ChatCompletionResponse",
    "FunctionCall",
    "InsufficientCredits",
    "InvalidRequest",
    "JobCompletionResult",
    "JobResponse",
    "Message",
    "NotFound",
    "RateLimited",
    "SaaSLLMClient",
    "SaaSLLMError",
    "ServerUnavailable",
    "StreamChunk",
    "StreamError",
    "ToolCall",
    "Usage",
]

ResponseModel = TypeVar("ResponseModel", bound=BaseModel)


class FunctionCall(BaseModel):
    """The function a model wants called; `arguments` is JSON text."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    """One tool call of an assistant message."""

    id: str
    type: str = "function"
    function: FunctionCall


class Message(BaseModel):
    """A chat message. Plain dicts are accepted wherever a Message is."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class ChatChoice(BaseModel):
    """One choice: `message` of a whole answer, `delta` of a streamed one; the other is an empty dict."""

    index: int
    message: dict[str, Any] = Field(default_factory=dict)
    delta: dict[str, Any] = Field(default_factory=dict)
    finish_reason: str | None = None


class Usage(BaseModel):
    """Tokens used by a call."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class ChatCompletionResponse(BaseModel):
    """A whole answer."""

    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage | None = None


class StreamChunk(BaseModel):
    """A piece of a streamed answer; the last one carries `usage`, and `choices` may be empty."""

    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage | None = None


ChatCompletionChunk = StreamChunk


class JobResponse(BaseModel):
    """A job that was just created."""

    job_id: str
    team_id: str
    status: str
    created_at: str


class JobCompletionResult(BaseModel):
    """How a job ended. With `charge_pending` it is charged once its last call has ended."""

    job_id: str
    status: str
    credits_remaining: int
    total_calls: int
    charge_pending: bool = False
    costs: dict[str, Any] = Field(default_factory=dict)


class SaaSLLMError(httpx.HTTPStatusError):
    """Raised when the server refuses or fails a request; also for a status without a class of its own."""

    def __init__(self, response: httpx.Response) -> None:
        self.status_code = response.status_code
        self.detail = _detail(response)
        self.retry_after = _retry_after_s(response)
        text = f"{response.status_code} {response.reason_phrase}: {self.detail}"
        super().__init__(text, request=response.request, response=response)


class InvalidRequest(SaaSLLMError):
    """Raised when a value or a rule is violated (400, 422); `detail` names the fields."""


class AuthenticationError(SaaSLLMError):
    """Raised when the virtual key is missing, unknown, revoked or expired (401)."""


class AccessDenied(SaaSLLMError):
    """Raised when the team is suspended or may not use this (403)."""


class InsufficientCredits(SaaSLLMError):
    """Raised when the team's credits do not cover the request (403 or 402)."""


class NotFound(SaaSLLMError):
    """Raised when there is no such job, or none of this team (404)."""


class RateLimited(SaaSLLMError):
    """Raised when a limit is reached (429); `retry_after` is in seconds, None if the server does not say."""


class ServerUnavailable(SaaSLLMError):
    """Raised when the platform or its model backend fails (500, 503); `retry_after` as in RateLimited."""


class StreamError(Exception):
    """Raised when a stream that had begun does not end well; what was yielded until then is incomplete."""


class SaaSLLMClient:
    """Client of one team.

    `base_url` and `api_url` are two names of the same thing. A method without `job_id` uses `current_job_id`,
    the job created last, until that one is completed. Every POST carries an `Idempotency-Key` of its own. To
    repeat one whose outcome is unknown, a timeout for instance, pass the key it had:
    `idempotency_key=error.request.headers["Idempotency-Key"]`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        team_id: str | None = None,
        virtual_key: str | None = None,
        timeout: float = 120.0,
        *,
        api_url: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url = base_url or api_url
        if not url:
            raise ValueError("base_url is required")
        if not team_id:
            raise ValueError("team_id is required")
        if not virtual_key:
            raise ValueError("virtual_key is required")
        self.base_url = self.api_url = url.rstrip("/")
        self.team_id = team_id
        self.virtual_key = virtual_key
        self.timeout = timeout
        self.current_job_id: str | None = None
        self.client = httpx.AsyncClient(
            timeout=timeout,
            transport=transport,
            headers={"Authorization": f"Bearer {virtual_key}", "Content-Type": "application/json"},
        )

    async def __aenter__(self) -> "SaaSLLMClient":
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        await self.client.aclose()

    async def create_job(
        self,
        job_type: str,
        metadata: dict[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> str:
        """Open a job, make it the current one and return its id."""
        body = _given(team_id=self.team_id, job_type=job_type, metadata=metadata)
        job = JobResponse.model_validate(await self._post("/api/jobs/create", body, idempotency_key))
        self.current_job_id = job.job_id
        return job.job_id

    async def complete_job(
        self,
        job_id: str | None = None,
        status: str = "completed",
        metadata: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
        error_message: str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> JobCompletionResult:
        """End a job as "completed" or "failed". A repeat answers like the first time and charges nothing."""
        job_id = self._job(job_id)
        body = _given(status=status, metadata=metadata, result=result, error_message=error_message)
        answer = await self._post(f"{_job_path(job_id)}/complete", body, idempotency_key)
        # The totals stand at the top level and under "costs"; either is enough.
        completion = JobCompletionResult.model_validate({**(answer.get("costs") or {}), **_given(**answer)})
        if job_id == self.current_job_id:
            self.current_job_id = None
        return completion

    async def chat(
        self,
        job_id: str | None = None,
        messages: Sequence[Message | Mapping[str, Any]] | None = None,
        model: str | None = None,
        temperature: float | None = 0.7,
        max_tokens: int | None = None,
        top_p: float | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        stop: str | Sequence[str] | None = None,
        *,
        model_group: str | None = None,
        response_format: dict[str, Any] | None = None,
        tools: Sequence[dict[str, Any]] | None = None,
        tool_choice: str | dict[str, Any] | None = None,
        purpose: str | None = None,
        idempotency_key: str | None = None,
    ) -> ChatCompletionResponse:
        """Make one call in a job and return the whole answer. Without a model, the team's default answers."""
        job_id, model_group = self._target(job_id, model, model_group)
        body = _given(
            messages=_as_dicts(messages),
            model=model,
            model_group=model_group,
            temperature=temperature,
            max_tokens=max_tokens,
            top_p=top_p,
            frequency_penalty=frequency_penalty,
            presence_penalty=presence_penalty,
            stop=stop,
            response_format=response_format,
            tools=tools,
            tool_choice=tool_choice,
            purpose=purpose,
        )
        answer = await self._post(f"{_job_path(job_id)}/llm-call", body, idempotency_key)
        return ChatCompletionResponse.model_validate(answer)

    async def chat_stream(
        self,
        job_id: str | None = None,
        messages: Sequence[Message | Mapping[str, Any]] | None = None,
        model: str | None = None,
        temperature: float | None = 0.7,
        max_tokens: int | None = None,
        top_p: float | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        stop: str | Sequence[str] | None = None,
        *,
        model_group: str | None = None,
        response_format: dict[str, Any] | None = None,
        tools: Sequence[dict[str, Any]] | None = None,
        tool_choice: str | dict[str, Any] | None = None,
        purpose: str | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncGenerator[StreamChunk, None]:
        """Make one call in a job and yield the answer as it is written. Arguments as in `chat`."""
        job_id, model_group = self._target(job_id, model, model_group)
        body = _given(
            messages=_as_dicts(messages),
            model=model,
            model_group=model_group,
            temperature=temperature,
            max_tokens=max_tokens,
            top_p=top_p,
            frequency_penalty=frequency_penalty,
            presence_penalty=presence_penalty,
            stop=stop,
            response_format=response_format,
            tools=tools,
            tool_choice=tool_choice,
            purpose=purpose,
        )
        async with self.client.stream(
            "POST",
            f"{self.base_url}{_job_path(job_id)}/llm-call-stream",
            json=body,
            headers=_idempotency(idempotency_key),
        ) as response:
            if not response.is_success:
                await response.aread()
                raise _error(response)
            async for event in _events(response):
                yield StreamChunk.model_validate(event)

    async def structured_output(
        self,
        job_id: str | None = None,
        messages: Sequence[Message | Mapping[str, Any]] | None = None,
        response_model: type[ResponseModel] | None = None,
        model: str | None = None,
        temperature: float | None = 0.7,
        max_tokens: int | None = None,
        *,
        model_group: str | None = None,
        purpose: str | None = None,
        idempotency_key: str | None = None,
    ) -> ResponseModel:
        """Make one call whose answer must fit `response_model`, and return it parsed.

        Raises pydantic.ValidationError when the answer does not fit.
        """
        if response_model is None:
            raise TypeError("response_model is required")
        response = await self.chat(
            job_id,
            messages,
            model,
            temperature,
            max_tokens,
            model_group=model_group,
            response_format=_json_schema_format(response_model),
            purpose=purpose,
            idempotency_key=idempotency_key,
        )
        return response_model.model_validate_json(response.choices[0].message.get("content") or "")

    async def structured_output_stream(
        self,
        job_id: str | None = None,
        messages: Sequence[Message | Mapping[str, Any]] | None = None,
        response_model: type[BaseModel] | None = None,
        model: str | None = None,
        temperature: float | None = 0.7,
        max_tokens: int | None = None,
        *,
        model_group: str | None = None,
        purpose: str | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncGenerator[str, None]:
        """Yield the JSON text as it is written; joined, it fits `response_model.model_validate_json`."""
        if response_model is None:
            raise TypeError("response_model is required")
        stream = self.chat_stream(
            job_id,
            messages,
            model,
            temperature,
            max_tokens,
            model_group=model_group,
            response_format=_json_schema_format(response_model),
            purpose=purpose,
            idempotency_key=idempotency_key,
        )
        async with aclosing(stream) as chunks:  # a caller who stops early must not leave the request open
            async for chunk in chunks:
                content = chunk.choices[0].delta.get("content") if chunk.choices else None
                if content:
                    yield content

    async def _post(self, path: str, body: dict[str, Any], idempotency_key: str | None) -> dict[str, Any]:
        response = await self.client.post(f"{self.base_url}{path}", json=body, headers=_idempotency(idempotency_key))
        if not response.is_success:
            raise _error(response)
        answer: dict[str, Any] = response.json()
        return answer

    def _job(self, job_id: str | None) -> str:
        job_id = job_id or self.current_job_id
        if not job_id:
            raise ValueError("No job ID provided and no current job. Call create_job() first.")
        return job_id

    def _target(self, job_id: str | None, model: str | None, model_group: str | None) -> tuple[str, str | None]:
        """Return the job to call in and the model group to ask for.

        `chat("chat-fast", messages)` is an accepted style too: its first argument names a model group, and
        the call goes to the current job. The two cannot be confused, since a job id is always a UUID.
        """
        is_group = job_id and job_id != self.current_job_id and not _is_uuid(job_id)
        if is_group and self.current_job_id and model is None and model_group is None:
            return self.current_job_id, job_id
        return self._job(job_id), model_group


def _given(**parameters: Any) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def _as_dicts(messages: Sequence[Message | Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    if messages is None:
        raise TypeError("messages is required")
    return [m.model_dump(exclude_none=True) if isinstance(m, BaseModel) else dict(m) for m in messages]


def _json_schema_format(response_model: type[BaseModel]) -> dict[str, Any]:
    # A generic model is called "Page[Item]", which providers refuse as a name.
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", response_model.__name__)
    schema = {"name": name, "schema": response_model.model_json_schema(), "strict": True}
    return {"type": "json_schema", "json_schema": schema}


def _idempotency(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key or str(uuid.uuid4())}


def _job_path(job_id: str) -> str:
    return f"/api/jobs/{quote(job_id, safe='')}"


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


async def _events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Yield the JSON objects of an event stream up to `[DONE]`; keep-alive comments are skipped."""
    async for line in _lines(response):
        if not line.startswith(b"data:"):
            continue
        data = line[len(b"data:") :].strip()
        if data == b"[DONE]":
            return
        try:
            event = json.loads(data)
        except ValueError as error:
            raise StreamError("Stream error: an event is not JSON") from error
        if not isinstance(event, dict):
            raise StreamError("Stream error: an event is not a JSON object")
        if "error" in event:
            reason = event["error"]
            if isinstance(reason, dict):
                reason = reason.get("message", reason)
            raise StreamError(f"Stream error: {reason}")
        yield event
    raise StreamError("Stream error: the stream ended before [DONE]")


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Split at LF alone: httpx's own iterator splits at U+2028 and the like too, which answers may hold."""
    rest = b""
    async for block in response.aiter_bytes():
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest


def _error(response: httpx.Response) -> SaaSLLMError:
    return _error_class(response)(response)


def _error_class(response: httpx.Response) -> type[SaaSLLMError]:
    match response.status_code:
        case 400 | 422:
            return InvalidRequest
        case 401:
            return AuthenticationError
        case 402:
            return InsufficientCredits
        case 403:
            # What stands in quotes is an identifier: a team may be called 'credit-desk'.
            words = re.sub(r"'[^']*'", "", _detail(response)).lower()
            return InsufficientCredits if "credit" in words else AccessDenied
        case 404:
            return NotFound
        case 429:
            return RateLimited
        case status if status >= 500:
            return ServerUnavailable
    return SaaSLLMError


def _detail(response: httpx.Response) -> str:
    """Return the server's explanation as one line, also of an answer that a proxy wrote in its place."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return " ".join(response.text.split())[:200] or "no detail"
    if not isinstance(detail, list):
        return str(detail)
    return "; ".join(_field_error(item) for item in detail)


def _field_error(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    return f"{'.'.join(str(part) for part in item.get('loc', []))}: {item.get('msg', 'invalid')}"


def _retry_after_s(response: httpx.Response) -> float | None:
    """Read Retry-After, which is a number of seconds or a date."""
    header = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=timezone.utc)
    return max(0.0, (at - datetime.now(timezone.utc)).total_seconds())
