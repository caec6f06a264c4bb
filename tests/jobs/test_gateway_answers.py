"""What the LiteLLM route makes of answers, on the bytes of HTTP."""

import json
import socket
import threading
from typing import Any

import orjson
import pytest

from apps.jobs.gateway import deadline, openai_http
from apps.jobs.gateway.interface import Completion, CompletionRequest, GatewayError, Usage
from apps.jobs.gateway.litellm_proxy import LiteLLMProxy
from apps.jobs.gateway.openai_wire import read_cost
from apps.jobs.gateway.usage import read_usage
from tests.harness.fake_provider import RunningProvider
from tests.jobs.raw_http import response, sending, serving

HONEST = {
    "id": "chatcmpl-7",
    "created": 1_700_000_001,
    "model": "provider-model-9",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


@pytest.fixture(autouse=True)
def _own_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "_local", threading.local())
    monkeypatch.setattr(openai_http, "_local", threading.local())


def request(model: str = "gpt-4", **parameters: Any) -> CompletionRequest:
    return CompletionRequest(
        call_id="call-1",
        attempt_id="attempt-1",
        team_id="acme",
        provider_model=model,
        body={"messages": [{"role": "user", "content": "What is FastAPI?"}], **parameters},
    )


def ask(url: str, settings: Any, *, timeout_s: float = 5.0, **parameters: Any) -> Completion:
    settings.LITELLM_BASE_URL = url
    return LiteLLMProxy().complete(request(**parameters), timeout_s=timeout_s)


def answered(settings: Any, body: object, *, headers: str = "") -> Completion:
    """The completion made of this body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with serving(sending(response(data, headers=headers))) as server:
        return ask(server.url, settings)


def choosing(**message: Any) -> dict[str, Any]:
    return HONEST | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def test_honest_answer_is_read_whole(provider: RunningProvider):
    completion = LiteLLMProxy().complete(request(), timeout_s=5)

    (execution,) = provider.executions()
    assert completion.choices == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Answer 1 to: What is FastAPI?"},
            "finish_reason": "stop",
        }
    ]
    assert completion.usage == Usage(execution.billed_prompt_tokens, execution.billed_completion_tokens)
    assert completion.resolved_model == "gpt-4"
    assert completion.created == 1_700_000_000


def test_call_and_attempt_are_named_to_the_provider(provider: RunningProvider):
    LiteLLMProxy().complete(request(), timeout_s=5)

    (execution,) = provider.executions()
    assert (execution.call_id, execution.attempt_id) == ("call-1", "attempt-1")


def test_request_carries_model_team_and_master_key_and_no_more(settings: Any):
    settings.LITELLM_MASTER_KEY = "sk-master"
    with serving(sending(response(json.dumps(HONEST).encode()))) as server:
        ask(server.url, settings, model="gpt-9", temperature=0.1)

    assert server.bodies == [
        {
            "messages": [{"role": "user", "content": "What is FastAPI?"}],
            "temperature": 0.1,
            "model": "gpt-9",
            "user": "acme",
        }
    ]
    assert "authorization: bearer sk-master\r\n" in server.heads[0]
    assert server.heads[0].startswith("post /v1/chat/completions http/1.1\r\n")


def test_no_key_is_sent_when_none_is_configured(settings: Any):
    settings.LITELLM_MASTER_KEY = ""
    with serving(sending(response(json.dumps(HONEST).encode()))) as server:
        ask(server.url, settings)

    assert "authorization" not in server.heads[0]


def test_proxies_and_netrc_of_the_environment_are_not_used(settings: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    assert answered(settings, HONEST).provider_id == "chatcmpl-7"


def test_connection_is_kept_for_the_next_call(settings: Any):
    with serving(sending(response(json.dumps(HONEST).encode()))) as server:
        ask(server.url, settings)
        ask(server.url, settings)

    assert (len(server.requests), server.connections) == (2, 1)


def test_connection_survives_a_failure_that_was_read_whole(settings: Any):
    with serving(sending(response(b"{}", status="500 Oops"))) as server:
        for _ in range(2):
            with pytest.raises(GatewayError):
                ask(server.url, settings)

    assert server.connections == 1


def test_cookie_of_one_call_does_not_travel_with_the_next(settings: Any):
    data = response(json.dumps(HONEST).encode(), headers="set-cookie: session=of-another-team; path=/\r\n")
    with serving(sending(data)) as server:
        ask(server.url, settings)
        ask(server.url, settings)
        settings.LITELLM_MASTER_KEY = "sk-changed-meanwhile"
        ask(server.url, settings)

    assert len(server.heads) == 3
    assert not any("cookie:" in head for head in server.heads)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("end_turn", "stop"),
        ("MAX_TOKENS", "length"),
        ("tool_use", "tool_calls"),
        ("SAFETY", "content_filter"),
        ("refusal", "content_filter"),
        ("something new", "stop"),
        (None, "stop"),
        (7, "stop"),
    ],
)
def test_finish_reason_is_told_in_openai_s_spelling(settings: Any, said: object, meant: str):
    body = HONEST | {"choices": [{"message": {"content": "x"}, "finish_reason": said}]}

    assert answered(settings, body).choices[0]["finish_reason"] == meant


def test_tool_calls_are_kept_beside_an_empty_text(provider: RunningProvider):
    completion = LiteLLMProxy().complete(request("fake-tools"), timeout_s=5)

    (choice,) = completion.choices
    assert choice["message"]["content"] == ""
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "lookup"
    assert choice["finish_reason"] == "tool_calls"


def test_every_one_of_several_choices_is_kept(provider: RunningProvider):
    completion = LiteLLMProxy().complete(request(n=3), timeout_s=5)

    assert [choice["index"] for choice in completion.choices] == [0, 1, 2]


def test_content_parts_become_one_text(settings: Any):
    message = {"content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}, "junk", {"text": None}]}

    assert answered(settings, choosing(**message)).choices[0]["message"]["content"] == "Hello"


def test_null_content_becomes_an_empty_text(settings: Any):
    assert answered(settings, choosing(content=None)).choices[0]["message"] == {"role": "assistant", "content": ""}


def test_fields_that_name_the_provider_are_dropped(settings: Any):
    message = answered(settings, choosing(content="x", provider_specific_fields={"a": 1})).choices[0]["message"]

    assert "provider_specific_fields" not in message


def test_fields_of_a_tool_call_that_name_the_provider_are_dropped(settings: Any):
    own = {"provider_specific_fields": {"a": 1}, "vendor_field": "x"}
    function = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    custom = {"id": "c2", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    named = [
        {**function, **own, "function": {**function["function"], **own}},
        {**custom, **own, "custom": {**custom["custom"], **own}},
    ]

    message = answered(settings, choosing(content=None, tool_calls=named)).choices[0]["message"]

    assert message["tool_calls"] == [function, custom]


def test_signature_that_a_call_is_taken_back_with_stays(settings: Any):
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"s": "x"}}

    assert answered(settings, choosing(content=None, tool_calls=[call])).choices[0]["message"]["tool_calls"] == [call]


def test_half_an_emoji_does_not_spoil_the_answer(settings: Any):
    body = b'{"choices": [{"message": {"content": "cut here \\ud83d"}}]}'

    completion = answered(settings, body)

    assert completion.choices[0]["message"]["content"].startswith("cut here ")
    assert orjson.dumps(completion.choices)


def test_nul_in_a_model_s_name_is_dropped(settings: Any):
    assert answered(settings, HONEST | {"model": "a\0b"}).resolved_model == "ab"


@pytest.mark.parametrize("created", [None, "now", -5, 1.5, True])
def test_time_that_is_none_becomes_now(settings: Any, created: object):
    assert answered(settings, HONEST | {"created": created}).created > 1_700_000_001


@pytest.mark.parametrize(
    "usage",
    [
        None,
        "many",
        [],
        {},
        {"prompt_tokens": 1},
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": 5, "completion_tokens": -1},
        {"prompt_tokens": 10**15, "completion_tokens": 5},
        {"prompt_tokens": 5, "completion_tokens": 10**15},
        {"prompt_tokens": 1.5, "completion_tokens": 5},
        {"prompt_tokens": True, "completion_tokens": 5},
        {"prompt_tokens": "5", "completion_tokens": 5},
    ],
)
def test_usage_that_cannot_be_believed_is_none(usage: object):
    assert read_usage(usage) is None


@pytest.mark.parametrize("fault", ["fake-no-usage", "fake-negative-usage", "fake-absurd-usage", "fake-nan-usage"])
def test_answer_with_broken_usage_is_still_an_answer(provider: RunningProvider, fault: str):
    completion = LiteLLMProxy().complete(request(fault), timeout_s=5)

    assert completion.usage is None
    assert completion.choices[0]["message"]["content"] == "Answer 1 to: What is FastAPI?"


def test_usage_is_kept_as_the_provider_sent_it(provider: RunningProvider):
    completion = LiteLLMProxy().complete(request("fake-negative-usage"), timeout_s=5)

    assert json.loads(completion.raw_usage)["prompt_tokens"] == -1000


def test_usage_nested_beyond_reason_is_no_reason_to_fail(settings: Any):
    body = b'{"choices": [{"message": {"content": "x"}}], "usage": ' + b"[" * 1000 + b"]" * 1000 + b"}"

    assert answered(settings, body).usage is None


@pytest.mark.parametrize("message", [{"content": "text"}, {"content": "", "tool_calls": [{"id": "a"}]}])
def test_zeros_filled_in_for_missing_usage_are_not_believed(settings: Any, message: dict[str, Any]):
    body = choosing(**message) | {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}

    assert answered(settings, body).usage is None


@pytest.mark.parametrize(
    ("header", "nanousd"),
    [
        ("0.0000135", 13_500),
        ("1.35e-05", 13_500),
        ("1.35E-05", 13_500),
        ("0.0", 0),
        ("0", 0),
        # Rounded up: it is our cost.
        ("0.0000000001", 1),
        ("10000", 10_000 * 10**9),
        ("10000.01", None),
        ("-0.5", None),
        ("None", None),
        ("", None),
        (None, None),
        ("nan", None),
        ("inf", None),
        ("free", None),
        ("1e999999", None),
        ("1e99999999999", None),
    ],
)
def test_reported_cost_is_read_in_every_spelling(header: str | None, nanousd: int | None):
    assert read_cost(header) == nanousd


def test_cost_comes_from_litellm_s_header(settings: Any):
    completion = answered(settings, HONEST, headers="x-litellm-response-cost: 1.35e-05\r\n")

    assert completion.cost_nanousd == 13_500


def test_answer_in_pieces_is_put_together(settings: Any):
    data = json.dumps(HONEST).encode()

    def in_pieces(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for index in range(0, len(data), 40):
            piece = data[index : index + 40]
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            over.wait(0.01)
        connection.sendall(b"0\r\n\r\n")

    with serving(in_pieces) as server:
        assert ask(server.url, settings).provider_id == "chatcmpl-7"


def test_compressed_answer_is_unpacked(settings: Any):
    import gzip

    data = gzip.compress(json.dumps(HONEST).encode())

    assert answered(settings, data, headers="content-encoding: gzip\r\n").provider_id == "chatcmpl-7"
