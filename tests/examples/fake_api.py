"""The API in memory, for tests of the typed client."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from examples.typed_client import SaaSLLMClient, SyncSaaSLLMClient

T = TypeVar("T")

JOB_ID = "550e8400-e29b-41d4-a716-446655440000"
OTHER_JOB_ID = "660e8400-e29b-41d4-a716-446655440000"
HELLO = [{"role": "user", "content": "Hello"}]
CREATED = {"job_id": JOB_ID, "team_id": "acme", "status": "pending", "created_at": "2026-01-01T00:00:00Z"}
ANSWER = {
    "call_id": OTHER_JOB_ID,
    "response": {"content": "Hi", "role": "assistant", "finish_reason": "stop", "tool_calls": None},
    "metadata": {"tokens_used": 3, "latency_ms": 1, "model": "default", "model_group": "default"},
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "default",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"},
    ],
    "usage": {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3},
}
COMPLETED = {
    "job_id": JOB_ID,
    "status": "completed",
    "completed_at": "2026-01-01T00:00:01Z",
    "costs": {"total_calls": 2, "credits_remaining": 95, "credit_applied": True},
    "calls": [],
    "credits_remaining": 95,
    "total_calls": 2,
}


VECTORS = {
    "object": "list",
    "data": [
        {"object": "embedding", "index": 1, "embedding": [0.0, 1.0]},
        {"object": "embedding", "index": 0, "embedding": [1.0, 0.0]},
    ],
    "model": "embed",
    "usage": {"prompt_tokens": 4, "total_tokens": 4},
}


class Person(BaseModel):
    name: str
    age: int


def answer_of(model: BaseModel) -> dict[str, Any]:
    message = {"role": "assistant", "content": model.model_dump_json()}
    return {**ANSWER, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


class Server:
    """Answers from a table of path endings (a list: one answer a request) and keeps the requests."""

    def __init__(self, **answers: Any) -> None:
        self.requests: list[httpx.Request] = []
        self.answers: dict[str, Any] = {
            "create": CREATED,
            "llm-call": ANSWER,
            "complete": COMPLETED,
            **{name.replace("_", "-"): answer for name, answer in answers.items()},
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers[request.url.path.rsplit("/", 1)[1]]
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.requests[-1].content)
        return body

    @property
    def paths(self) -> list[str]:
        """The last part of each request's path."""
        return [request.url.path.rsplit("/", 1)[1] for request in self.requests]

    @property
    def keys(self) -> list[str]:
        return [request.headers["Idempotency-Key"] for request in self.requests]

    def client(self, **options: Any) -> SaaSLLMClient:
        """A client that retries nothing unless told."""
        options = {"max_retries": 0, **options}
        return SaaSLLMClient("http://api.test", "acme", "sk-1", transport=httpx.MockTransport(self), **options)

    def sync_client(self, **options: Any) -> SyncSaaSLLMClient:
        transport = httpx.MockTransport(self)
        return SyncSaaSLLMClient("http://api.test", "acme", "sk-1", max_retries=0, transport=transport, **options)

    def run(self, use: Callable[[SaaSLLMClient], Awaitable[T]], **options: Any) -> T:
        """Run `use` with a client of this server."""

        async def session() -> T:
            async with self.client(**options) as client:
                return await use(client)

        return asyncio.run(session())


class Blocks(httpx.AsyncByteStream):
    """A response body that arrives in exactly these reads; an exception among them ends it."""

    def __init__(self, blocks: Iterable[bytes | Exception]) -> None:
        self.blocks = list(blocks)
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for block in self.blocks:
            if isinstance(block, Exception):
                raise block
            yield block

    async def aclose(self) -> None:
        self.is_closed = True


def streamed(*blocks: bytes | Exception) -> httpx.Response:
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Blocks(blocks))


def chunk(content: str | None = None, **more: Any) -> bytes:
    delta = {} if content is None else {"content": content}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "default",
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
        **more,
    }
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
