"""Typed client of the SaaS LiteLLM API, for asyncio and without; needs httpx and pydantic 2, Python 3.10 or newer.

One file, to be copied into your project. A status that is not 2xx raises a subclass of httpx.HTTPStatusError
whose text holds the server's `detail`. What the caller leaves out is not sent: the server's defaults apply.
"""

import asyncio
import json
import random
import re
import threading
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypedDict, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from typing_extensions import Unpack

P = ParamSpec("P")
T = TypeVar("T")
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

    @property
    def tool_calls(self) -> list[ToolCall]:
        """What the model wants called."""
        return [ToolCall.model_validate(call) for call in self.message.get("tool_calls") or []]


class Usage(BaseModel):
    """Tokens used by a call."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Escrow(BaseModel):
    """A job's ceiling and what of it is left, in whole credits rounded down; the exact figures are decimal strings."""

    max_credits: int
    held: int
    used: int
    remaining: int
    max_credits_exact: str
    held_exact: str
    used_exact: str
    remaining_exact: str
    on_cap: str = "refuse"
    deadline: str | None = None


class ChatCompletionResponse(BaseModel):
    """A whole answer."""

    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage | None = None
    escrow: Escrow | None = None

    @property
    def content(self) -> str:
        """The first choice's text, empty when it has none."""
        return (self.choices[0].message.get("content") or "") if self.choices else ""

    @property
    def tool_calls(self) -> list[ToolCall]:
        """What the first choice wants called."""
        return self.choices[0].tool_calls if self.choices else []


class StreamChunk(BaseModel):
    """A piece of a streamed answer; the last one carries `usage`, and `choices` may be empty."""

    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage | None = None
    escrow: Escrow | None = None

    @property
    def content(self) -> str:
        """The text that this piece adds, maybe none."""
        return (self.choices[0].delta.get("content") or "") if self.choices else ""


ChatCompletionChunk = StreamChunk


class Embedding(BaseModel):
    """The vector of one text; `index` is the text's place in the request."""

    index: int
    embedding: list[float]


class EmbeddingResponse(BaseModel):
    """The vectors of all texts that were sent."""

    data: list[Embedding]
    model: str
    usage: Usage | None = None

    @property
    def vectors(self) -> list[list[float]]:
        """The vectors in the order of the texts."""
        return [item.embedding for item in sorted(self.data, key=lambda item: item.index)]


class JobResponse(BaseModel):
    """A job that was just created."""

    job_id: str
    team_id: str
    status: str
    created_at: str


class JobBudget(BaseModel):
    """A job after its budget was changed; `paused_reason` is "budget" while it is paused at its ceiling."""

    job_id: str
    status: str
    paused_reason: str | None = None
    deadline: str | None = None
    escrow: Escrow | None = None


class JobCompletionResult(BaseModel):
    """How a job ended. With `charge_pending` it is charged once its last call has ended."""

    job_id: str
    status: str
    credits_remaining: int
    total_calls: int
    charge_pending: bool = False
    costs: dict[str, Any] = Field(default_factory=dict)
    escrow: Escrow | None = None


@dataclass
class Job:
    """A job that ends with its block. `result` is kept with it; `completion` is there once the block has ended."""

    job_id: str
    result: dict[str, Any] | None = None
    completion: JobCompletionResult | None = None


class Budget(TypedDict, total=False):
    """What a job may cost. `max_credits` is whole or a decimal string; `deadline` is in seconds, or an instant."""

    max_credits: int | str | None
    reserve: bool
    deadline: int | str | datetime | None
    on_cap: str


class CallOptions(TypedDict, total=False):
    """What calls take by name; what is not named is not sent."""

    model_group: str | None
    response_format: dict[str, Any] | None
    tools: Sequence[dict[str, Any]] | None
    tool_choice: str | dict[str, Any] | None
    purpose: str | None
    idempotency_key: str | None


class SamplingOptions(CallOptions, total=False):
    """The same, with what `chat` also takes by position."""

    top_p: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    stop: str | Sequence[str] | None


_OPTIONS = frozenset((*CallOptions.__annotations__, *SamplingOptions.__annotations__))


class SaaSLLMError(httpx.HTTPStatusError):
    """Raised when the server refuses or fails a request; also for a status without a class of its own.

    `code` is the server's own name of the error, None if it gives none; `retry_after` is in seconds.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.status_code = response.status_code
        self.code, self.detail = _code_and_detail(response)
        self.retry_after = _retry_after_s(response)
        text = f"{response.status_code} {response.reason_phrase}: {self.detail}"
        super().__init__(text, request=response.request, response=response)


class InvalidRequest(SaaSLLMError):
    """Raised when a value or a rule is violated (400, 422); `detail` names the fields."""


class AuthenticationError(SaaSLLMError):
    """Raised when the virtual key is missing, unknown, revoked or expired (401)."""


class AccessDenied(SaaSLLMError):
    """Raised when the team is suspended, or may not use this model or method (403)."""


class InsufficientCredits(SaaSLLMError):
    """Raised when the team's credits, or a spend limit, do not cover the request (403; 402 under /v1)."""


class JobCapReached(InsufficientCredits):
    """Raised when the call would make its job exceed its `max_credits` (403; 402 under /v1): see `update_job`."""


class NotFound(SaaSLLMError):
    """Raised when there is no such job, or none of this team (404)."""


class RateLimited(SaaSLLMError):
    """Raised when a limit is reached (429); `retry_after` is in seconds, None if the server does not say."""


class ServerUnavailable(SaaSLLMError):
    """Raised when the platform or its model backend fails (500, 503); `retry_after` as in RateLimited."""


class StreamError(Exception):
    """Raised when a stream that had begun does not end well; what was yielded until then is incomplete.

    The same request with this `idempotency_key` has the whole answer, if there is one, and is not charged again.
    """

    def __init__(self, reason: object, idempotency_key: str | None = None) -> None:
        self.idempotency_key = idempotency_key
        super().__init__(f"Stream error: {reason}")


# Codes of requests that were refused for money.
MONEY_CODES = frozenset(["insufficient_credits", "spend_limit_reached"])

# Codes of calls that failed: nothing was charged, and their key will only ever repeat that they did.
FAILED_CALLS = frozenset(
    ["provider_rate_limited", "provider_error", "provider_malformed", "provider_unavailable", "provider_timeout"]
    + ["call_timeout", "call_expired", "call_cancelled", "worker_lost"]
)


class _Retries:
    """Whether one request is sent again, when, and under which key."""

    def __init__(self, key: str | None, max_retries: int, timeout: float) -> None:
        self.key = self._first_key = key or str(uuid.uuid4())
        self._left = max_retries
        self._ends_at = time.monotonic() + timeout
        self._count = 0
        self._failed_calls = 0

    def pause_s(self, error: httpx.HTTPError) -> float | None:
        """Seconds to wait before the next try, None to give up.

        The key stays, so that work which was done is found and not done again. Only after a call that is known to
        have failed it becomes "<key>.1", "<key>.2": a caller who begins anew with the first key takes the same way.
        """
        code = error.code if isinstance(error, SaaSLLMError) else None
        if not _may_pass(error) or (self._left <= 0 and code != "call_still_running"):
            return None
        # A call that goes on is asked for again as long as time is left.
        self._left -= code != "call_still_running"
        if code in FAILED_CALLS:
            self._failed_calls += 1
            self.key = f"{self._first_key}.{self._failed_calls}"
        pause_s = error.retry_after if isinstance(error, SaaSLLMError) else None
        if pause_s is None:
            pause_s = 0.5 * 2**self._count * random.uniform(0.5, 1.0)
        self._count += 1
        return pause_s if time.monotonic() + pause_s < self._ends_at else None


def _may_pass(error: httpx.HTTPError) -> bool:
    """Whether the same request may succeed later. A timeout is the caller's own: it is not repeated for him."""
    if isinstance(error, SaaSLLMError):
        return error.status_code in (429, 500, 502, 503, 504) and error.code != "provider_configuration"
    return isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)


class SaaSLLMClient:
    """Client of one team.

    `base_url` and `api_url` are two names of the same thing. A method without `job_id` uses `current_job_id`,
    the job created last, until that one is completed; programs that work on several jobs at once pass `job_id`.

    Every POST carries an `Idempotency-Key` of its own. A request that was refused for now (429, 5xx) or whose
    connection was lost is sent again, at most `max_retries` times, when the server asks for (`Retry-After`), and
    not when that is more than `timeout` seconds after the first try. To repeat a request whose outcome is unknown,
    pass the key it had: `idempotency_key=error.request.headers["Idempotency-Key"]`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        team_id: str | None = None,
        virtual_key: str | None = None,
        timeout: float = 120.0,
        *,
        api_url: str | None = None,
        max_retries: int = 2,
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
        self.max_retries = max_retries
        self.current_job_id: str | None = None
        self.client = httpx.AsyncClient(
            timeout=timeout,
            transport=transport,
            headers={"Authorization": f"Bearer {virtual_key}", "Content-Type": "application/json"},
        )

    async def __aenter__(self) -> "SaaSLLMClient":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
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
        **budget: "Unpack[Budget]",
    ) -> str:
        """Open a job, make it the current one and return its id."""
        body = _given(team_id=self.team_id, job_type=job_type, metadata=metadata, **_budget(budget))
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

    async def cancel_job(
        self, job_id: str | None = None, reason: str | None = None, *, idempotency_key: str | None = None
    ) -> JobCompletionResult:
        """End a job that is no longer wanted. One that has ended keeps its first verdict, which is in `status`."""
        job_id = self._job(job_id)
        answer = await self._post(f"{_job_path(job_id)}/cancel", _given(reason=reason), idempotency_key)
        if job_id == self.current_job_id:
            self.current_job_id = None
        return JobCompletionResult.model_validate({**(answer.get("costs") or {}), **_given(**answer)})

    async def update_job(self, job_id: str | None = None, **budget: "Unpack[Budget]") -> JobBudget:
        """Change a job's budget; a higher `max_credits` ends its pause. None lifts a ceiling or a deadline."""
        path = _job_path(self._job(job_id))
        response = await self._send(path, _budget(budget), None, {}, method="PATCH")
        return JobBudget.model_validate(response.json())

    @asynccontextmanager
    async def job(
        self,
        job_type: str,
        metadata: dict[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **budget: "Unpack[Budget]",
    ) -> AsyncIterator[Job]:
        """Open a job for a block: completed when the block ends, failed when it raises."""
        job = Job(await self.create_job(job_type, metadata, idempotency_key=idempotency_key, **budget))
        try:
            yield job
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"[:1000]
            with suppress(httpx.HTTPError):  # what went wrong in the block is what the caller must hear of
                job.completion = await self.complete_job(job.job_id, "failed", error_message=reason)
            raise
        job.completion = await self.complete_job(job.job_id, "completed", result=job.result)

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
        **options: "Unpack[CallOptions]",
    ) -> ChatCompletionResponse:
        """Make one call in a job and return the whole answer. Without a model, the team's default answers."""
        sampling = {
            "top_p": top_p,
            "frequency_penalty": frequency_penalty,
            "presence_penalty": presence_penalty,
            "stop": stop,
        }
        path, body, key = self._call(job_id, messages, model, temperature, max_tokens, {**options, **sampling})
        return ChatCompletionResponse.model_validate(await self._post(f"{path}/llm-call", body, key))

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
        **options: "Unpack[CallOptions]",
    ) -> AsyncGenerator[StreamChunk, None]:
        """Make one call in a job and yield the answer as it is written. Arguments as in `chat`.

        Raises StreamError when it breaks off; a stream that had begun is not begun again.
        """
        sampling = {
            "top_p": top_p,
            "frequency_penalty": frequency_penalty,
            "presence_penalty": presence_penalty,
            "stop": stop,
        }
        path, body, key = self._call(job_id, messages, model, temperature, max_tokens, {**options, **sampling})
        response = await self._send(f"{path}/llm-call-stream", body, key, {}, stream=True)
        try:
            async for event in _events(response):
                yield StreamChunk.model_validate(event)
        finally:
            await response.aclose()

    async def structured_output(
        self,
        job_id: str | None = None,
        messages: Sequence[Message | Mapping[str, Any]] | None = None,
        response_model: type[ResponseModel] | None = None,
        model: str | None = None,
        temperature: float | None = 0.7,
        max_tokens: int | None = None,
        **options: "Unpack[SamplingOptions]",
    ) -> ResponseModel:
        """Make one call whose answer must fit `response_model`, and return it parsed.

        Raises pydantic.ValidationError when the answer does not fit.
        """
        if response_model is None:
            raise TypeError("response_model is required")
        options["response_format"] = _json_schema_format(response_model)
        answer = await self.chat(job_id, messages, model, temperature, max_tokens, **options)
        return response_model.model_validate_json(answer.content)

    async def structured_output_stream(
        self,
        job_id: str | None = None,
        messages: Sequence[Message | Mapping[str, Any]] | None = None,
        response_model: type[BaseModel] | None = None,
        model: str | None = None,
        temperature: float | None = 0.7,
        max_tokens: int | None = None,
        **options: "Unpack[SamplingOptions]",
    ) -> AsyncGenerator[str, None]:
        """Yield the JSON text as it is written; joined, it fits `response_model.model_validate_json`."""
        if response_model is None:
            raise TypeError("response_model is required")
        options["response_format"] = _json_schema_format(response_model)
        stream = self.chat_stream(job_id, messages, model, temperature, max_tokens, **options)
        async with aclosing(stream) as chunks:  # a caller who stops early must not leave the request open
            async for chunk in chunks:
                if chunk.content:
                    yield chunk.content

    async def embeddings(
        self,
        input: str | Sequence[str],
        model: str | None = None,
        *,
        job_id: str | None = None,
        dimensions: int | None = None,
        idempotency_key: str | None = None,
    ) -> EmbeddingResponse:
        """Return a vector for each text. It is a call of the current job; with none open, a job of its own."""
        body = _given(input=input if isinstance(input, str) else list(input), model=model, dimensions=dimensions)
        job_id = job_id or self.current_job_id or ""
        return EmbeddingResponse.model_validate(await self._post("/v1/embeddings", body, idempotency_key, job_id))

    async def _post(self, path: str, body: dict[str, Any], key: str | None, job_id: str = "") -> dict[str, Any]:
        answer: dict[str, Any] = (await self._send(path, body, key, {"X-Job-Id": job_id} if job_id else {})).json()
        return answer

    async def _send(
        self,
        path: str,
        body: dict[str, Any],
        key: str | None,
        headers: Mapping[str, str],
        *,
        stream: bool = False,
        method: str = "POST",
    ) -> httpx.Response:
        """Send until it succeeds or there is no point in another try."""
        retries = _Retries(key, self.max_retries, self.timeout)
        while True:
            sent = {**headers, "Idempotency-Key": retries.key}
            request = self.client.build_request(method, f"{self.base_url}{path}", json=body, headers=sent)
            failure: httpx.HTTPError
            try:
                response = await self.client.send(request, stream=stream)
                if response.is_success:
                    return response
                await response.aread()
                failure = _error_class(response)(response)
            except httpx.TransportError as error:
                failure = error
            pause_s = retries.pause_s(failure)
            if pause_s is None:
                raise failure
            await asyncio.sleep(pause_s)

    def _call(
        self,
        job_id: str | None,
        messages: Sequence[Message | Mapping[str, Any]] | None,
        model: str | None,
        temperature: float | None,
        max_tokens: int | None,
        options: Mapping[str, Any],
    ) -> tuple[str, dict[str, Any], str | None]:
        """Return the job's path, the body and the key of a call."""
        unknown = options.keys() - _OPTIONS
        if unknown:
            raise TypeError(f"unknown argument: {', '.join(sorted(unknown))}")
        job_id, model_group = self._target(job_id, model, options.get("model_group"))
        given = {"model": model, "temperature": temperature, "max_tokens": max_tokens, **options}
        given |= {"messages": _as_dicts(messages), "model_group": model_group, "idempotency_key": None}
        return _job_path(job_id), _given(**given), options.get("idempotency_key")

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


def _blocking(
    method: Callable[Concatenate[SaaSLLMClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["SyncSaaSLLMClient", P], T]:
    """Make a method that waits of one that is awaited."""

    @wraps(method)
    def run(self: "SyncSaaSLLMClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(method(self._client, *args, **kwargs))

    return run


def _blocking_stream(
    method: Callable[Concatenate[SaaSLLMClient, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate["SyncSaaSLLMClient", P], Generator[T, None, None]]:
    """Make a generator of an asynchronous one."""

    @wraps(method)
    def run(self: "SyncSaaSLLMClient", /, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        stream = method(self._client, *args, **kwargs)

        async def following() -> list[T]:
            async for item in stream:
                return [item]
            return []

        try:
            while items := self._run(following()):
                yield items[0]
        finally:
            if not self._loop.is_closed():
                self._run(stream.aclose())

    return run


class SyncSaaSLLMClient:
    """The same client for programs without asyncio: the same methods with the same arguments, waiting.

    An event loop in a thread of its own does the work, so that it can be used from several threads and inside a
    running loop (a notebook). The thread begins with the first request: a client made before a fork works after it.
    """

    def __init__(
        self,
        base_url: str | None = None,
        team_id: str | None = None,
        virtual_key: str | None = None,
        timeout: float = 120.0,
        **options: Any,
    ) -> None:
        self._client = SaaSLLMClient(base_url, team_id, virtual_key, timeout, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="saasllm-client", daemon=True)
        self._starting = threading.Lock()

    create_job = _blocking(SaaSLLMClient.create_job)
    complete_job = _blocking(SaaSLLMClient.complete_job)
    cancel_job = _blocking(SaaSLLMClient.cancel_job)
    update_job = _blocking(SaaSLLMClient.update_job)
    chat = _blocking(SaaSLLMClient.chat)
    chat_stream = _blocking_stream(SaaSLLMClient.chat_stream)
    structured_output = _blocking(SaaSLLMClient.structured_output)
    structured_output_stream = _blocking_stream(SaaSLLMClient.structured_output_stream)
    embeddings = _blocking(SaaSLLMClient.embeddings)

    @property
    def current_job_id(self) -> str | None:
        """The job created last, until it is completed."""
        return self._client.current_job_id

    @contextmanager
    def job(
        self,
        job_type: str,
        metadata: dict[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **budget: "Unpack[Budget]",
    ) -> Iterator[Job]:
        """Open a job for a block: completed when the block ends, failed when it raises."""
        manager = self._client.job(job_type, metadata, idempotency_key=idempotency_key, **budget)
        job = self._run(manager.__aenter__())
        try:
            yield job
        except BaseException as error:
            self._run(manager.__aexit__(type(error), error, error.__traceback__))
            raise
        self._run(manager.__aexit__(None, None, None))

    def __enter__(self) -> "SyncSaaSLLMClient":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        if self._loop.is_closed():
            return
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("The client is closed.")
        with self._starting:
            if self._thread.ident is None:
                self._thread.start()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C while it runs
            future.cancel()
            raise


def _given(**parameters: Any) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def _budget(budget: Mapping[str, Any]) -> dict[str, Any]:
    """Return a budget as it is sent. An instant without a time zone is one of this machine's."""
    unknown = budget.keys() - Budget.__annotations__.keys()
    if unknown:
        raise TypeError(f"unknown argument: {', '.join(sorted(unknown))}")
    deadline = budget.get("deadline")
    return {**budget, "deadline": deadline.astimezone().isoformat()} if isinstance(deadline, datetime) else {**budget}


def _as_dicts(messages: Sequence[Message | Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    if messages is None:
        raise TypeError("messages is required")
    return [m.model_dump(exclude_none=True) if isinstance(m, BaseModel) else dict(m) for m in messages]


def _json_schema_format(response_model: type[BaseModel]) -> dict[str, Any]:
    # A generic model is called "Page[Item]", which providers refuse as a name.
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", response_model.__name__)
    schema = {"name": name, "schema": _strict(response_model.model_json_schema()), "strict": True}
    return {"type": "json_schema", "json_schema": schema}


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON schema as strict models want it: every property written, no others, no defaults."""
    strict: dict[str, Any] = {}
    for word, value in schema.items():
        if word in ("properties", "$defs"):
            strict[word] = {name: _strict(part) for name, part in value.items()}
        elif word in ("anyOf", "oneOf", "allOf", "prefixItems"):
            strict[word] = [_strict(part) for part in value]
        elif word in ("items", "additionalProperties") and isinstance(value, dict):
            strict[word] = _strict(value)
        elif word != "default":
            strict[word] = value
    if "properties" in strict:
        strict |= {"required": list(strict["properties"]), "additionalProperties": False}
    return strict


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
    key = response.request.headers.get("Idempotency-Key")
    try:
        async for line in _lines(response):
            if not line.startswith(b"data:"):
                continue
            data = line[len(b"data:") :].strip()
            if data == b"[DONE]":
                return
            event = json.loads(data)
            if not isinstance(event, dict):
                raise StreamError("an event is not a JSON object", key)
            if "error" in event:
                reason = event["error"]
                raise StreamError(reason.get("message", reason) if isinstance(reason, dict) else reason, key)
            yield event
    except json.JSONDecodeError as error:
        raise StreamError("an event is not JSON", key) from error
    except httpx.TransportError as error:
        raise StreamError(f"the connection was lost ({type(error).__name__})", key) from error
    raise StreamError("the stream ended before [DONE]", key)


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Split at LF alone: httpx's own iterator splits at U+2028 and the like too, which answers may hold."""
    rest = b""
    async for block in response.aiter_bytes():
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest


def _error_class(response: httpx.Response) -> type[SaaSLLMError]:
    code, detail = _code_and_detail(response)
    match response.status_code:
        case 402 | 403 if code == "job_cap_reached":
            return JobCapReached
        case 402:
            return InsufficientCredits
        case 400 | 422:
            return InvalidRequest
        case 401:
            return AuthenticationError
        case 403 if code:
            return InsufficientCredits if code in MONEY_CODES else AccessDenied
        case 403:
            # What stands in quotes is an identifier: a team may be called 'credit-desk'.
            words = re.sub(r"'[^']*'", "", detail).lower()
            return InsufficientCredits if "credit" in words else AccessDenied
        case 404:
            return NotFound
        case 429:
            return RateLimited
        case status if status >= 500:
            return ServerUnavailable
    return SaaSLLMError


def _code_and_detail(response: httpx.Response) -> tuple[str | None, str]:
    """Return the error's code and, in one line, the explanation; also of an answer that a proxy wrote instead."""
    try:
        body = response.json()
        if "error" in body:  # as OpenAI writes it, under /v1
            return body["error"].get("code"), str(body["error"]["message"])
        code, detail = body.get("code"), body["detail"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, " ".join(response.text.split())[:200] or "no detail"
    if isinstance(detail, list):
        detail = "; ".join(_field_error(item) for item in detail)
    return code, str(detail)


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
