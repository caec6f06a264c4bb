"""What the OpenAI-speaking routes make of embeddings, on the bytes of HTTP."""

import base64
import json
import struct
import threading
from typing import Any

import pytest

from apps.jobs.gateway import deadline, openai_http
from apps.jobs.gateway.interface import EmbeddingRequest, Embeddings, GatewayError, Target, Usage
from apps.jobs.gateway.litellm_proxy import LiteLLMProxy
from apps.jobs.gateway.openai_compatible import OpenAICompatible
from tests.jobs.raw_http import response, sending, serving

HONEST = {
    "object": "list",
    "model": "embedder-9",
    "data": [
        {"object": "embedding", "index": 1, "embedding": [0, 1]},
        {"object": "embedding", "index": 0, "embedding": [0.6, -0.8]},
    ],
    "usage": {"prompt_tokens": 4, "total_tokens": 4},
}


@pytest.fixture(autouse=True)
def _own_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "_local", threading.local())
    monkeypatch.setattr(openai_http, "_local", threading.local())


def request(url: str, **options: Any) -> EmbeddingRequest:
    return EmbeddingRequest("call-1", "attempt-1", "acme", "m", ["a", "b"], options, Target(url, "k"))


def answered(body: object) -> Embeddings:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with serving(sending(response(data))) as server:
        return OpenAICompatible().embed(request(server.url), timeout_s=5)


def test_vectors_come_in_the_order_of_their_inputs():
    embeddings = answered(HONEST)

    assert embeddings.vectors == [[0.6, -0.8], [0.0, 1.0]]
    assert (embeddings.resolved_model, embeddings.usage) == ("embedder-9", Usage(4, 0))


def test_request_carries_inputs_options_and_plain_numbers_asked_for():
    with serving(sending(response(json.dumps(HONEST).encode()))) as server:
        OpenAICompatible().embed(request(f"{server.url}/v1/", dimensions=2), timeout_s=5)

    assert server.bodies == [
        {"dimensions": 2, "model": "m", "user": "acme", "input": ["a", "b"], "encoding_format": "float"}
    ]
    assert server.heads[0].startswith("post /v1/embeddings http/1.1\r\n")
    assert "x-saasllm-call-id: call-1\r\n" in server.heads[0]


def test_litellm_tells_what_it_cost(settings: Any):
    data = response(json.dumps(HONEST).encode(), headers="x-litellm-response-cost: 1.35e-05\r\n")
    with serving(sending(data)) as server:
        settings.LITELLM_BASE_URL = server.url
        assert LiteLLMProxy().embed(request("http://127.0.0.1:1"), timeout_s=5).cost_nanousd == 13_500
        assert OpenAICompatible().embed(request(server.url), timeout_s=5).cost_nanousd is None


def test_base64_is_read_where_numbers_were_asked_for():
    data = [{"index": n, "embedding": base64.b64encode(struct.pack("<2f", 0.5, n)).decode()} for n in (0, 1)]

    assert answered(HONEST | {"data": data}).vectors == [[0.5, 0.0], [0.5, 1.0]]


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 0}, {"prompt_tokens": -1}, "many"])
def test_usage_that_cannot_be_believed_is_none(usage: object):
    assert answered(HONEST | {"usage": usage}).usage is None


@pytest.mark.parametrize(
    "data",
    [None, [], HONEST["data"][:1], [*HONEST["data"], {"index": 2, "embedding": [1]}], ["junk"] * 2,
     [{"index": 0, "embedding": [1]}] * 2, [{"embedding": []}] * 2, [{"embedding": ["1"]}] * 2,
     [{"embedding": "no base64!"}] * 2, [{"embedding": "AAA="}] * 2, [{"embedding": [10**400]}] * 2,
     [{"embedding": base64.b64encode(struct.pack("<f", float("nan"))).decode()}] * 2, [{"embedding": None}] * 2],
    ids=lambda data: str(data)[:40],
)  # fmt: skip
def test_vectors_of_another_shape_are_malformed(data: object):
    with pytest.raises(GatewayError) as caught:
        answered(HONEST | {"data": data})
    assert (caught.value.code, caught.value.was_executed) == ("provider_malformed", True)


@pytest.mark.parametrize("body", [b"[]", b"", {"error": {"message": "secret"}}])
def test_answer_without_vectors_is_a_failure(body: object):
    with pytest.raises(GatewayError) as caught:
        answered(body)
    assert caught.value.status == 500


def test_refusal_has_its_code():
    with serving(sending(response(b"{}", status="401 No"))) as server, pytest.raises(GatewayError) as caught:
        OpenAICompatible().embed(request(server.url), timeout_s=5)
    assert caught.value.code == "provider_configuration"
