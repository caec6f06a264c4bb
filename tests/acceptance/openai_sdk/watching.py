"""What a customer's client is sent, byte for byte: none of it tells whose model answered, where, or at what price.

Invariant: whatever passes through these transports is judged by `Watch.judge` before a check counts as passed.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

# Every header that the platform or its server may send. A new one is looked at before it is added.
HEADERS = frozenset(
    [
        "content-type", "content-length", "transfer-encoding", "date", "server", "connection", "vary", "allow",
        "www-authenticate", "retry-after", "cache-control", "x-accel-buffering", "idempotency-replayed",
        "x-content-type-options", "x-frame-options", "referrer-policy", "cross-origin-opener-policy",
        "x-request-id", "x-should-retry", "x-job-id", "x-call-id", "x-saasllm-job-id", "x-saasllm-call-id",
        "x-saasllm-credits-charged", "x-saasllm-credits-remaining",
    ]
)  # fmt: skip
KEYS = {
    "chat.completion": {"id", "object", "created", "model", "choices", "usage"},
    "text_completion": {"id", "object", "created", "model", "choices", "usage"},
    "chat.completion.chunk": {"id", "object", "created", "model", "choices"},
    "list": {"object", "data"},
    "model": {"id", "object", "created", "owned_by"},
}
# Only some of them: a chunk of usage, the last one, embeddings.
OPTIONAL_KEYS = {
    "chat.completion.chunk": {"usage", "saasllm"},
    "text_completion": {"usage", "saasllm"},
    "list": {"model", "usage"},
}
MESSAGE_KEYS = {"role", "content", "refusal", "tool_calls"}
CALL_KEYS = {"index", "id", "type", "function"}
ERROR_KEYS = {"message", "type", "param", "code"}
# Of a refusal: which limit, how it stood, and the decision.
REFUSAL_KEYS = {"limit", "scope", "id", "used", "held", "allowed", "unit", "resets_at", "decision_id"}
PREFIXES = {"text_completion": "cmpl-"}


@dataclass
class Exchange:
    """A request and its answer, as far as it came."""

    path: str
    status: int
    headers: httpx.Headers
    body: bytearray = field(default_factory=bytearray)

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def answers(self) -> list[Any]:
        """The answer's JSON: of a stream each event that came whole."""
        if not self.is_stream:
            return [json.loads(self.body)] if self.body else []
        events = bytes(self.body).split(b"\n\n")[:-1]
        data = [event.removeprefix(b"data: ") for event in events if event.startswith(b"data: ")]
        return [json.loads(text) for text in data if text != b"[DONE]"]


class Watch:
    """Notes exchanges, loses answers when told to, and judges what was sent."""

    def __init__(self, *, never_seen: Sequence[str], own_words: Sequence[str] = ()) -> None:
        """`never_seen` are words of the provider's side; `own_words` what may be sent although it has one."""
        # The product's own name has LiteLLM's in it.
        words = [re.escape(word) for word in never_seen] + [r"(?<!saas[-_])litellm"]
        self._never_seen = re.compile("|".join(words), re.IGNORECASE)
        self._own_words = own_words
        self.exchanges: list[Exchange] = []
        # The path of each request, also of those that nobody waited for.
        self.sent: list[str] = []
        self.answers_to_lose = 0

    def client(self) -> httpx.Client:
        return httpx.Client(transport=_Transport(self), timeout=60)

    def async_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=_AsyncTransport(self), timeout=60)

    def asked(self, path: str) -> list[Exchange]:
        """The exchanges at a path, oldest first."""
        return [exchange for exchange in self.exchanges if exchange.path == path]

    def judge(self) -> None:
        """Raises: AssertionError when anything that was sent should not have been."""
        for exchange in self.exchanges:
            self._judge(exchange)

    def begins(self, request: httpx.Request, response: httpx.Response) -> Exchange:
        exchange = Exchange(request.url.path, response.status_code, response.headers)
        self.exchanges.append(exchange)
        return exchange

    def is_lost(self) -> bool:
        """Whether this answer is lost on its way."""
        self.answers_to_lose -= 1
        return self.answers_to_lose >= 0

    def _judge(self, exchange: Exchange) -> None:
        where = f"{exchange.path} ({exchange.status})"
        unknown = {name.lower() for name in exchange.headers} - HEADERS
        assert not unknown, f"{where}: unknown headers {sorted(unknown)}"
        text = bytes(exchange.body).decode()
        for words in self._own_words:
            text = text.replace(words, "")
        for said in (text, *exchange.headers.values()):
            found = self._never_seen.search(said)
            assert found is None, f"{where}: {said[max(0, found.start() - 60) : found.end() + 60]!r}"
        if exchange.path.startswith("/v1/"):
            assert "cost" not in text.lower(), f"{where}: tells a cost: {text[:400]}"
            for answer in exchange.answers():
                _judge_answer(answer, exchange, where)


def _judge_answer(answer: Any, exchange: Exchange, where: str) -> None:
    if "error" in answer:
        assert set(answer) == {"error"}, where
        assert ERROR_KEYS <= set(answer["error"]) <= ERROR_KEYS | REFUSAL_KEYS, where
        return
    kind = answer["object"]
    needed = KEYS[kind] - ({"usage"} if exchange.is_stream else set())
    assert needed <= set(answer) <= KEYS[kind] | OPTIONAL_KEYS.get(kind, set()), f"{where}: {sorted(answer)}"
    if "choices" not in answer:
        return
    call_id = exchange.headers["x-call-id"].replace("-", "")
    assert answer["id"] == PREFIXES.get(kind, "chatcmpl-") + call_id, f"{where}: {answer['id']}"
    for choice in answer["choices"]:
        assert set(choice) <= {"index", "message", "delta", "text", "finish_reason", "logprobs"}, f"{where}: {choice}"
        message = choice.get("message") or choice.get("delta") or {}
        assert set(message) <= MESSAGE_KEYS, f"{where}: {message}"
        for call in message.get("tool_calls") or []:
            assert set(call) <= CALL_KEYS, f"{where}: {call}"
            assert set(call.get("function", {})) <= {"name", "arguments"}, f"{where}: {call}"


class _Noted(httpx.SyncByteStream):
    """A body that is noted as it passes."""

    def __init__(self, body: httpx.SyncByteStream, exchange: Exchange) -> None:
        self._body = body
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._body:
            self._exchange.body += piece
            yield piece

    def close(self) -> None:
        self._body.close()


class _NotedAsync(httpx.AsyncByteStream):
    """The same for the asynchronous client."""

    def __init__(self, body: httpx.AsyncByteStream, exchange: Exchange) -> None:
        self._body = body
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._body:
            self._exchange.body += piece
            yield piece

    async def aclose(self) -> None:
        await self._body.aclose()


def _noted(response: httpx.Response, stream: Any) -> httpx.Response:
    return httpx.Response(
        response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
    )


def _lost(request: httpx.Request) -> httpx.ReadError:
    return httpx.ReadError("lost on its way", request=request)


class _Transport(httpx.BaseTransport):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._real = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        # Noted as it is sent, so that it must not be packed.
        request.headers["Accept-Encoding"] = "identity"
        self._watch.sent.append(request.url.path)
        response = self._real.handle_request(request)
        assert isinstance(response.stream, httpx.SyncByteStream)
        noted = _noted(response, _Noted(response.stream, self._watch.begins(request, response)))
        if self._watch.is_lost():
            noted.read()
            raise _lost(request)
        return noted

    def close(self) -> None:
        self._real.close()


class _AsyncTransport(httpx.AsyncBaseTransport):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._real = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "identity"
        self._watch.sent.append(request.url.path)
        response = await self._real.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        noted = _noted(response, _NotedAsync(response.stream, self._watch.begins(request, response)))
        if self._watch.is_lost():
            await noted.aread()
            raise _lost(request)
        return noted

    async def aclose(self) -> None:
        await self._real.aclose()
