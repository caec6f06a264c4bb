"""The route through LiteLLM's SDK, with a module in its place that does what the SDK does (seen with 1.106.2)."""

import importlib.metadata
import logging
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import orjson
import pytest

from apps.jobs.gateway.interface import CompletionRequest, EmbeddingRequest, GatewayError, Target, Usage
from apps.jobs.gateway.litellm_sdk import LiteLLMSDK

HONEST = {
    "id": "chatcmpl-7",
    "created": 1_700_000_001,
    "model": "gpt-5",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}
SECRET = "sk-of-a-provider at https://canary-upstream.internal"


class Answer:
    """A Pydantic model of the SDK, as far as the route looks at it."""

    def __init__(self, body: object, **hidden: Any) -> None:
        self.body = body
        self._hidden_params = hidden

    def model_dump_json(self, *, warnings: bool) -> str:
        return orjson.dumps(self.body).decode()


class Stream:
    """The SDK's wrapper of a stream: it knows whether the provider sent a finish reason."""

    received_finish_reason: str | None = "stop"
    intermittent_finish_reason: str | None = None

    def __init__(self, *parts: object) -> None:
        self.parts = iter(parts)
        self.closed: list[str] = []
        self.completion_stream = SimpleNamespace(close=lambda: self.closed.append("stream"))

    def __iter__(self) -> Iterator[Answer]:
        return self

    def __next__(self) -> Answer:
        part = next(self.parts)
        if isinstance(part, Exception):
            raise part
        return Answer(part)


class Stub(ModuleType):
    """The module: it remembers what it was asked, and answers what it was given."""

    def __init__(self) -> None:
        super().__init__("litellm")
        self.asked: dict[str, Any] = {}
        self.answer: Any = Answer(HONEST)

    def completion(self, **asked: Any) -> Any:
        self.asked = asked
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    embedding = completion


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Stub:
    stub = Stub()
    monkeypatch.setitem(sys.modules, "litellm", stub)
    return stub


def request(**more: Any) -> CompletionRequest:
    target = more.pop("target", None)
    body = {"messages": [{"role": "user", "content": "?"}], **more}
    return CompletionRequest("call-1", "attempt-1", "acme", "openai/gpt-5", body, target)


def part(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-7", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def raised(name: str, status: int | None = None, **more: Any) -> Exception:
    """An exception as the SDK has them: known by its name, with the provider's status."""
    error: Exception = type(name, (Exception,), {})(SECRET)
    if status is not None:
        error.status_code = status  # type: ignore[attr-defined]
    error.__dict__.update(more)
    return error


def failure(call: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        call()
    assert "sk-of-a-provider" not in f"{caught.value!r} {caught.value.__cause__!r}"
    return caught.value


def test_answer_is_read_as_from_the_wire(sdk: Stub):
    sdk.answer = Answer(HONEST, response_cost=4.9999999999999996e-05)
    completion = LiteLLMSDK().complete(request(), timeout_s=7)

    assert completion.choices == HONEST["choices"]
    assert (completion.usage, completion.cost_nanousd) == (Usage(3, 2), 50_000)


def test_request_is_passed_on_without_what_would_lead_it_elsewhere(sdk: Stub):
    elsewhere = {"api_base": "http://evil", "api_key": "x", "base_url": "x", "mock_response": "x", "timeout": 1e9}
    LiteLLMSDK().complete(request(temperature=0.1, stop=None, **elsewhere), timeout_s=7)

    assert sdk.asked == {
        "messages": [{"role": "user", "content": "?"}],
        "temperature": 0.1,
        "model": "openai/gpt-5",
        "user": "acme",
        "timeout": 7,
        "num_retries": 0,
        "max_retries": 0,
    }


def test_target_is_where_it_is_sent(sdk: Stub):
    LiteLLMSDK().complete(request(target=Target("http://here/v1", "k")), timeout_s=7)

    assert (sdk.asked["api_base"], sdk.asked["api_key"]) == ("http://here/v1", "k")


def test_stream_is_passed_on(sdk: Stub):
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    sdk.answer = Stream(part({"content": "Hel", "role": "assistant"}), part({"content": "lo."}),
                        part({"content": None}, "stop"), {"choices": [], "usage": usage})  # fmt: skip
    chunks = list(LiteLLMSDK().stream(request(), timeout_s=7))

    assert [chunk.choices[0]["delta"] for chunk in chunks[:3]] == [
        {"role": "assistant", "content": "Hel"},
        {"content": "lo."},
        {},
    ]
    assert chunks[-1].usage == Usage(3, 2)
    assert (sdk.asked["stream"], sdk.asked["stream_options"]) == (True, {"include_usage": True})


def test_finish_reasons_that_the_sdk_leaves_out_are_made_up_for(sdk: Stub):
    def of(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"id": "chatcmpl-7", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}

    sdk.answer = Stream(of(0, {"content": "a"}), of(0, {}, "stop"), of(1, {"content": "b"}))
    chunks = list(LiteLLMSDK().stream(request(n=2), timeout_s=7))

    assert chunks[-1].choices == [{"index": 1, "delta": {}, "finish_reason": "stop"}]


def test_closing_a_stream_closes_the_sdk_s(sdk: Stub):
    sdk.answer = Stream(part({"content": "Hel"}), part({"content": "lo."}))
    chunks = LiteLLMSDK().stream(request(), timeout_s=7)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]

    assert sdk.answer.closed == ["stream"]


def test_finish_reason_that_the_sdk_made_up_is_none(sdk: Stub):
    sdk.answer = Stream(part({"content": "Hel"}), part({}, "stop"))
    sdk.answer.received_finish_reason = None
    seen: list[Any] = []
    error = failure(lambda: seen.extend(LiteLLMSDK().stream(request(), timeout_s=7)))

    assert (error.code, error.was_executed, len(seen)) == ("provider_unavailable", True, 1)


@pytest.mark.parametrize("parts", [[], [part({"content": "x"})], [part({"content": "x"}), raised("APIError", 500)]])
def test_stream_that_ends_badly_fails(sdk: Stub, parts: list[Any]):
    sdk.answer = Stream(*parts)

    assert failure(lambda: list(LiteLLMSDK().stream(request(), timeout_s=7))).was_executed


def test_stream_is_over_at_its_deadline(sdk: Stub):
    sdk.answer = Stream(part({"content": "x"}))

    assert failure(lambda: list(LiteLLMSDK().stream(request(), timeout_s=0))).code == "provider_timeout"


def test_vectors_come_with_their_cost(sdk: Stub):
    sdk.answer = Answer({"data": [{"index": 0, "embedding": [1, 0]}], "usage": {"prompt_tokens": 1}}, response_cost=0)
    asked = EmbeddingRequest("c", "a", "acme", "openai/e", ["x"], {"dimensions": 2, "api_base": "http://evil"})
    embeddings = LiteLLMSDK().embed(asked, timeout_s=7)

    assert (embeddings.vectors, embeddings.usage, embeddings.cost_nanousd) == ([[1.0, 0.0]], Usage(1, 0), 0)
    assert (sdk.asked["input"], sdk.asked["dimensions"], "api_base" in sdk.asked) == (["x"], 2, False)


@pytest.mark.parametrize(
    ("error", "code", "was_executed"),
    [
        (raised("AuthenticationError", 401), "provider_configuration", False),
        (raised("NotFoundError", 404), "provider_configuration", False),
        (raised("BadRequestError", 400), "provider_rejected", False),
        (raised("BadRequestError", 400, code="content_filter"), "content_filter", False),
        (raised("ContentPolicyViolationError", 400), "content_filter", False),
        (
            raised("RateLimitError", 429, litellm_response_headers={"retry-after": "7"}),
            "provider_rate_limited",
            False,
        ),
        (raised("ServiceUnavailableError", 503), "provider_unavailable", False),
        (raised("InternalServerError", 500), "provider_error", True),
        (raised("APIConnectionError", 500), "provider_unavailable", True),
        (raised("Timeout", 408), "provider_timeout", True),
        (KeyError("choices"), "provider_unavailable", True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_exception_of_the_sdk_has_its_code(sdk: Stub, error: Exception, code: str, was_executed: bool):
    sdk.answer = error
    embedding = EmbeddingRequest("c", "a", "t", "m", ["x"])
    for call in (
        lambda: LiteLLMSDK().complete(request(), timeout_s=7),
        lambda: list(LiteLLMSDK().stream(request(), timeout_s=7)),
        lambda: LiteLLMSDK().embed(embedding, timeout_s=7),
    ):
        found = failure(call)
        assert (found.code, found.was_executed) == (code, was_executed)
        if code == "provider_rate_limited":
            assert found.retry_after_s == 7


def test_missing_sdk_is_our_fault_and_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    # None there makes an import fail.
    monkeypatch.setitem(sys.modules, "litellm", None)
    caplog.set_level(logging.ERROR)

    error = failure(lambda: LiteLLMSDK().complete(request(), timeout_s=7))

    assert (error.code, error.status, error.was_executed) == ("provider_configuration", 503, False)
    assert "the extra `litellm` is not installed" in caplog.text


@pytest.mark.parametrize("version", ["1.82.7", "1.82.8", "1.107.0"])
def test_malicious_release_is_not_imported(sdk: Stub, monkeypatch: pytest.MonkeyPatch, version: str):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)

    assert failure(lambda: LiteLLMSDK().complete(request(), timeout_s=7)).code == "provider_configuration"
    assert sdk.asked == {}
