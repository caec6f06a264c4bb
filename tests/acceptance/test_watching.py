"""What the checks of OpenAI's client would notice: each way in which an answer could tell whose model it was."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.acceptance.openai_sdk.blocking import Blocking
from tests.acceptance.openai_sdk.watching import Exchange, Watch

CALL = "0190a000-0000-7000-8000-000000000001"
CHAT = "/v1/chat/completions"
HONEST: dict[str, Any] = {
    "id": f"chatcmpl-{CALL.replace('-', '')}",
    "object": "chat.completion",
    "created": 1,
    "model": "chat-default",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "saas-litellm says hello"}}],
    "usage": {},
}


def judged(body: Any = HONEST, *, status: int = 200, headers: dict[str, str] | None = None, path: str = CHAT) -> None:
    watch = Watch(never_seen=("vendor/model", "10.1.2.3:4000"), own_words=("LITELLM_BASE_URL",))
    headers = {"content-type": "application/json", "x-call-id": CALL, **(headers or {})}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    watch.exchanges.append(Exchange(path, status, httpx.Headers(headers), bytearray(data)))
    watch.judge()


def streamed(*events: Any) -> None:
    data = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in events)
    judged(b": keepalive\n\n" + data + b"data: [DONE]\n\n", headers={"content-type": "text/event-stream"})


CHUNK = {**HONEST, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "Hello"}}]}


def said(content: str) -> dict[str, Any]:
    return {**HONEST, "choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]}


def test_honest_answers_pass() -> None:
    judged()
    judged(said("set LITELLM_BASE_URL"))
    streamed(CHUNK, {**CHUNK, "saasllm": {"credits_charged": "1"}})
    judged({"error": {"message": "No.", "type": "t", "param": None, "code": "c"}}, status=400)


@pytest.mark.parametrize(
    "body",
    [
        {**HONEST, "id": "chatcmpl-1"},
        {**HONEST, "system_fingerprint": "fp_1"},
        {**HONEST, "model": "Vendor/Model"},
        said("litellm.BadRequestError"),
        said("refused by http://10.1.2.3:4000"),
        {**HONEST, "usage": {"cost": 0.1}},
        {**HONEST, "choices": [{"index": 0, "message": {"role": "assistant", "provider_specific_fields": {}}}]},
        {**HONEST, "choices": [{"index": 0, "message": {"tool_calls": [{"id": "1", "provider": "x"}]}}]},
        {"error": {"message": "vendor/model failed", "type": "t", "param": None, "code": "c"}},
        {"error": {"message": "No.", "type": "t", "param": None, "code": "c", "provider": "x"}},
    ],
)
def test_what_tells_the_provider_is_noticed(body: Any) -> None:
    with pytest.raises(AssertionError):
        judged(body)


@pytest.mark.parametrize("name", ["x-litellm-model-id", "llm_provider-server", "x-ratelimit-limit-requests"])
def test_header_that_nobody_looked_at_is_noticed(name: str) -> None:
    with pytest.raises(AssertionError, match=name):
        judged(headers={name: "1"})


@pytest.mark.parametrize(
    "event",
    [
        {**CHUNK, "id": "chatcmpl-1"},
        {**CHUNK, "system_fingerprint": "fp_1"},
        {**CHUNK, "choices": [{"index": 0, "delta": {"reasoning_vendor": "x"}}]},
        {"error": {"message": "vendor/model broke off", "type": "t", "param": None, "code": "c"}},
    ],
)
def test_what_one_chunk_tells_is_noticed(event: Any) -> None:
    with pytest.raises(AssertionError):
        streamed(CHUNK, event, CHUNK)


def test_asynchronous_objects_are_met_as_plain_ones() -> None:
    class Thing:
        async def answer(self) -> int:
            return 4

        async def __aenter__(self) -> "Thing":
            return self

        async def __aexit__(self, *what: object) -> None: ...

        async def __aiter__(self) -> Any:
            for number in (1, 2):
                yield number

    with asyncio.Runner() as runner:
        thing = Blocking(Thing(), runner.get_loop())
        with thing as entered:
            assert (entered.answer(), list(entered)) == (4, [1, 2])
