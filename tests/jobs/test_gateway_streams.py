"""What the OpenAI-speaking routes make of streams, on the bytes of HTTP."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from apps.jobs.gateway import deadline, openai_http
from apps.jobs.gateway.interface import Chunk, CompletionRequest, GatewayError, Target, Usage
from apps.jobs.gateway.litellm_proxy import LiteLLMProxy
from apps.jobs.gateway.openai_compatible import OpenAICompatible
from tests.harness.fake_provider import RunningProvider
from tests.harness.faults import CANARY_HOST, CANARY_SECRET
from tests.jobs.raw_http import Reply, response, sending, serving

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
KEY = "sk-of-the-target"


@pytest.fixture(autouse=True)
def _own_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "_local", threading.local())
    monkeypatch.setattr(openai_http, "_local", threading.local())


def event(delta: object = None, finish: object = None, **more: Any) -> bytes:
    body = {
        "id": "chatcmpl-7",
        "created": 1_700_000_001,
        "model": "provider-model-9",
        "choices": [{"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(body | more).encode() + b"\n\n"


HONEST = (
    event({"role": "assistant", "content": ""})
    + event({"content": "Hel"})
    + event({"content": "lo."})
    + event({}, "stop")
    + event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})
    + DONE
)


def piece(data: bytes) -> bytes:
    """One chunk of HTTP's own kind."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def streaming(*pieces: bytes) -> Reply:
    return sending(HEAD + b"".join(piece(data) for data in pieces) + END)


def request(url: str, model: str = "m", **parameters: Any) -> CompletionRequest:
    body = {"messages": [{"role": "user", "content": "?"}], **parameters}
    return CompletionRequest("call-1", "attempt-1", "acme", model, body, Target(f"{url}/v1", KEY))


def opened(url: str, *, timeout_s: float = 5.0, **parameters: Any) -> Iterator[Chunk]:
    return OpenAICompatible().stream(request(url, **parameters), timeout_s=timeout_s)


def streamed(*pieces: bytes) -> list[Chunk]:
    """The chunks made of a body that comes in these pieces."""
    with serving(streaming(*pieces)) as server:
        return list(opened(server.url))


def failing(reply: Reply, *, timeout_s: float = 5.0) -> tuple[list[Chunk], GatewayError]:
    """What was streamed before the failure, and the failure."""
    chunks: list[Chunk] = []
    with serving(reply) as server:
        stream = opened(server.url, timeout_s=timeout_s)
        with pytest.raises(GatewayError) as caught:
            chunks.extend(stream)
    return chunks, caught.value


def text(chunks: list[Chunk]) -> str:
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk.choices)


def finishes(chunks: list[Chunk]) -> list[str]:
    return [c["finish_reason"] for chunk in chunks for c in chunk.choices if c["finish_reason"]]


def test_honest_stream_is_passed_on_chunk_by_chunk():
    chunks = streamed(HONEST)

    assert [chunk.choices for chunk in chunks] == [
        [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "lo."}, "finish_reason": None}],
        [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        [],
    ]
    assert [chunk.usage for chunk in chunks] == [None] * 4 + [Usage(3, 2)]
    assert {(c.provider_id, c.created, c.resolved_model) for c in chunks} == {
        ("chatcmpl-7", 1_700_000_001, "provider-model-9")
    }


def test_request_asks_for_a_stream_with_usage():
    with serving(streaming(HONEST)) as server:
        list(opened(server.url, temperature=0.1, stream_options={"include_usage": False, "other": 1}))

    assert server.bodies == [
        {
            "messages": [{"role": "user", "content": "?"}],
            "temperature": 0.1,
            "model": "m",
            "user": "acme",
            "stream": True,
            "stream_options": {"include_usage": True, "other": 1},
        }
    ]
    assert server.heads[0].startswith("post /v1/chat/completions http/1.1\r\n")
    assert f"authorization: bearer {KEY}\r\n" in server.heads[0]
    assert "accept-encoding: identity\r\n" in server.heads[0]


def test_litellm_is_asked_at_its_own_address_and_believed_what_it_cost(settings: Any):
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "cost": 1.35e-05}
    with serving(streaming(event({"content": "x"}, "stop"), event(choices=[], usage=usage), DONE)) as server:
        settings.LITELLM_BASE_URL, settings.LITELLM_MASTER_KEY = server.url, "sk-master"
        chunks = list(LiteLLMProxy().stream(request("http://127.0.0.1:1"), timeout_s=5))

    assert chunks[-1].cost_nanousd == 13_500
    assert "authorization: bearer sk-master\r\n" in server.heads[0]


def test_cost_that_another_server_reports_is_not_believed():
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0}

    assert streamed(event({"content": "x"}, "stop"), event(choices=[], usage=usage))[-1].cost_nanousd is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_stream_may_be_split_anywhere(size: int, line_end: bytes):
    data = b"\xef\xbb\xbf: hello\n\n" + event({"content": "Grüße 🦜"}, "stop").replace(
        json.dumps("Grüße 🦜").encode(), '"Grüße 🦜"'.encode()
    )
    data = (data + DONE).replace(b"\n", line_end)

    assert text(streamed(*[data[at : at + size] for at in range(0, len(data), size)])) == "Grüße 🦜"


@pytest.mark.parametrize(
    "dressed",
    [
        lambda data: data.replace(b"data: ", b"data:"),
        lambda data: data.replace(b"data: ", b"event: message\nid: 7\nretry: 10\ndata: "),
        lambda data: data.replace(b"data: ", b": keepalive\n\ndata:\n\ndata: "),
        lambda data: data.removesuffix(DONE),
        lambda data: data.removesuffix(DONE).rstrip(b"\n"),
        lambda data: data.replace(DONE, b"data: [DONE]"),
        lambda data: data + b"data: what comes after the end\n\n",
        lambda data: b" \n" + data,
    ],
    ids=["no space", "fields", "comments", "no DONE", "no last blank line", "DONE cut", "more after DONE", "blank"],
)
def test_dialects_of_server_sent_events_are_read_alike(dressed: Any):
    chunks = streamed(dressed(HONEST))

    assert (text(chunks), finishes(chunks), chunks[-1].usage) == ("Hello.", ["stop"], Usage(3, 2))


def test_chunk_is_there_as_soon_as_its_event_is():
    may_go_on = threading.Event()

    def reply(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(HEAD + piece(event({"content": "first"})))
        may_go_on.wait(5)
        connection.sendall(piece(event({"content": " second"}, "stop") + DONE) + END)

    with serving(reply) as server:
        chunks = opened(server.url)
        first = next(chunks)
        # The server sends the second only when the first is here.
        may_go_on.set()
        rest = list(chunks)

    assert text([first]) == "first"
    assert text(rest) == " second"


def test_closing_ends_the_exchange_at_once():
    is_gone = threading.Event()

    def reply(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(HEAD + piece(event({"content": "first"})))
        connection.settimeout(5)
        # Empty when the client has closed: it sends nothing else.
        if connection.recv(1) == b"":
            is_gone.set()

    with serving(reply) as server:
        with closing(opened(server.url)) as chunks:
            next(chunks)
        assert is_gone.wait(5)


def test_connection_is_kept_after_a_stream_that_ended():
    with serving(streaming(HONEST)) as server:
        for _ in range(2):
            assert text(list(opened(server.url))) == "Hello."

    assert (len(server.requests), server.connections) == (2, 1)


def test_stream_without_an_end_does_not_hold_a_whole_answer_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(openai_http, "_USAGE_WAIT_S", 0.05)

    def reply(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(HEAD + piece(event({"content": "x"}, "stop")))
        over.wait(30)

    with serving(reply) as server:
        assert finishes(list(opened(server.url, timeout_s=20))) == ["stop"]


@pytest.mark.parametrize(
    ("said", "meant"),
    [("end_turn", "stop"), ("MAX_TOKENS", "length"), ("tool_use", "tool_calls"), ("new", "stop"), (7, "stop")],
)
def test_finish_reason_is_told_in_openai_s_spelling(said: object, meant: str):
    assert finishes(streamed(event({"content": "x"}, ""), event({}, said), DONE)) == [meant]


def test_nulls_repeated_roles_and_empty_chunks_are_left_out():
    chunks = streamed(
        event({"role": "assistant", "content": None, "refusal": None, "tool_calls": []}),
        event({"role": "assistant", "content": "x", "function_call": None}),
        event({"role": "assistant", "content": ""}),
        event(choices=[]),
        event({"content": None}, "stop"),
        # OpenRouter says it again beside the usage.
        event({"role": "assistant", "content": ""}, "stop", usage={"prompt_tokens": 1, "completion_tokens": 1}),
        DONE,
    )

    assert [choice["delta"] for chunk in chunks for choice in chunk.choices] == [
        {"role": "assistant", "content": ""},
        {"content": "x"},
        {},
    ]
    assert chunks[-1].usage == Usage(1, 1)


def test_what_names_the_provider_is_dropped():
    named = {"provider_specific_fields": {"thought_signature": "x"}, "vendor_field": 1}
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "", **named}}
    chunks = streamed(
        event(
            {"content": "x", "vendor_metadata": {"a": 1}, "tool_calls": [call | named], **named},
            "stop",
            provider="Some Vendor",
            system_fingerprint="fp_1",
        ),
        DONE,
    )

    (chunk,) = chunks
    assert chunk.choices[0]["delta"] == {
        "role": "assistant",
        "content": "x",
        "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}],
    }
    assert "Vendor" not in repr(chunk)


def test_tool_calls_come_through_intact():
    head = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": ""}}
    fragments: list[Any] = [{"index": 0, "function": {"arguments": part}} for part in ('{"que', 'ry": 1}')]
    chunks = streamed(
        event({"role": "assistant", "content": None, "tool_calls": [head]}),
        event({"tool_calls": [fragments[0]]}),
        # LiteLLM's SDK fills a fragment up with nulls.
        event({"tool_calls": [{**fragments[1], "id": None, "function": {**fragments[1]["function"], "name": None}}]}),
        event({}, "odd"),
        DONE,
    )

    deltas = [chunk.choices[0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": "", "tool_calls": [head]}
    assert [delta["tool_calls"] for delta in deltas[1:3]] == [[fragment] for fragment in fragments]
    assert finishes(chunks) == ["tool_calls"]


def test_several_choices_each_begin_and_end():
    def of(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        return event(choices=[{"index": index, "delta": delta, "finish_reason": finish}])

    chunks = streamed(of(0, {"content": "a"}), of(1, {"content": "b"}), of(1, {}, "length"), of(0, {}, "stop"), DONE)

    assert [(c["index"], c["delta"].get("role")) for chunk in chunks[:2] for c in chunk.choices] == [
        (0, "assistant"),
        (1, "assistant"),
    ]
    assert finishes(chunks) == ["length", "stop"]


@pytest.mark.parametrize(
    ("first", "second", "reasons"),
    [
        ([({"content": "a"}, None), ({}, "stop")], {"content": "b"}, ["stop", "stop"]),
        # One cap is for all choices.
        ([({"content": "a"}, None), ({}, "length")], {"content": "b"}, ["length", "length"]),
        ([({"content": "a"}, "stop")], {"tool_calls": [{"index": 0, "id": "call_1"}]}, ["stop", "tool_calls"]),
    ],
)
def test_finish_reasons_that_litellm_leaves_out_are_made_up_for_at_the_end(first: Any, second: Any, reasons: Any):
    def of(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        return event(choices=[{"index": index, "delta": delta, "finish_reason": finish}])

    usage = event(usage={"prompt_tokens": 3, "completion_tokens": 2}, choices=[])
    pieces = [*(of(0, *said) for said in first), of(1, second), usage]

    chunks = streamed(*pieces, DONE)

    assert finishes(chunks) == reasons
    assert chunks[-1].choices[0]["index"] == 1
    assert chunks[-2].usage == Usage(3, 2)
    # Without the provider's word that it is over it may have broken off.
    assert failing(streaming(*pieces))[1].code == "provider_unavailable"


def test_answer_is_not_whole_before_its_last_choice_came():
    def reply(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(HEAD + piece(event({"content": "x"}, "stop")) + b"500\r\ndata: ")
        connection.shutdown(socket.SHUT_RDWR)

    with serving(reply) as server, pytest.raises(GatewayError) as caught:
        list(opened(server.url, n=2))
    assert caught.value.code == "provider_unavailable"


def test_fewer_choices_than_asked_for_are_taken_at_an_orderly_end():
    with serving(streaming(HONEST)) as server:
        assert finishes(list(opened(server.url, n=2))) == ["stop"]


def test_zeros_filled_in_for_missing_usage_are_not_believed():
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}

    assert streamed(event({"content": "x"}, "stop"), event(choices=[], usage=usage))[-1].usage is None


def test_half_an_emoji_does_not_spoil_the_stream():
    assert text(streamed(event({"content": "cut here \ud83d"}, "stop"), DONE)).startswith("cut here ")


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_answer_that_is_no_stream_is_streamed_after_all(content_type: str):
    call = {"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Hello.", "tool_calls": [call]}
    body = {
        "id": "chatcmpl-7",
        "choices": [{"message": message, "finish_reason": "tool_use"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    data = response(b"\n" + json.dumps(body).encode(), headers=f"content-type: {content_type}\r\n")
    with serving(sending(data)) as server:
        chunks = list(opened(server.url))

    assert (text(chunks), finishes(chunks), chunks[-1].usage) == ("Hello.", ["tool_calls"], Usage(3, 2))
    assert chunks[0].choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[2].choices[0]["delta"] == {
        "tool_calls": [{**call, "index": 0, "function": {"name": "lookup", "arguments": ""}}]
    }


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([event({"content": "x"})], "provider_unavailable"),
        ([event({"content": "x"}), DONE], "provider_unavailable"),
        ([event({"content": "x"}), b'data: {"choices": [{"ind'], "provider_unavailable"),
        ([event({"content": "x"}), b"data: no json\n\n"], "provider_malformed"),
        ([event({"content": "x"}), b"data: [1]\n\n"], "provider_malformed"),
        ([event({"content": "x"}), event(choices=["junk"])], "provider_malformed"),
        ([event({"content": "x"}), event("junk")], "provider_malformed"),
        ([event({"content": "x"}), event({}, "error")], "provider_error"),
    ],
    ids=["no finish", "DONE alone", "half an event", "no json", "a list", "no choice", "no delta", "error as reason"],
)
def test_stream_that_ends_badly_fails_after_what_it_said(pieces: list[bytes], code: str):
    chunks, error = failing(streaming(*pieces))

    assert text(chunks) == "x"
    assert (error.code, error.was_executed) == (code, True)


@pytest.mark.parametrize("data", [b"", b"<html>secret</html>", b": only\n\n", DONE], ids=lambda data: repr(data))
def test_stream_that_says_nothing_fails(data: bytes):
    chunks, error = failing(sending(response(data)))

    assert chunks == []
    assert (error.status, error.was_executed) == (503, True)


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({"message": CANARY_SECRET, "code": "500"}, ("provider_error", 500)),
        ({"message": CANARY_HOST, "code": 429}, ("provider_rate_limited", 429)),
        ({"message": "ContentPolicyViolationError", "code": 400}, ("content_filter", 400)),
        (CANARY_SECRET, ("provider_error", 500)),
    ],
)
@pytest.mark.parametrize("before", [[], [event({"content": "x"})]], ids=["first", "in the middle"])
def test_error_event_is_a_failure_without_its_text(reported: object, expected: Any, before: list[bytes]):
    chunks, error = failing(streaming(*before, b"data: " + json.dumps({"error": reported}).encode() + b"\n\n"))

    assert len(chunks) == len(before)
    assert (error.code, error.status) == expected
    assert error.was_executed
    assert CANARY_SECRET not in f"{error!r} {error.__cause__!r}"
    assert CANARY_HOST not in f"{error!r} {error.__cause__!r}"


def test_refusal_before_the_stream_has_its_own_code():
    chunks, error = failing(sending(response(b"{}", status="429 Too Many", headers="retry-after: 7\r\n")))

    assert (chunks, error.code, error.retry_after_s, error.was_executed) == ([], "provider_rate_limited", 7, False)


def test_reset_in_the_middle_breaks_off():
    def reply(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(HEAD + piece(event({"content": "x"})) + b"500\r\ndata: ")
        connection.shutdown(socket.SHUT_RDWR)

    chunks, error = failing(reply)

    assert (text(chunks), error.code, error.was_executed) == ("x", "provider_unavailable", True)


def test_reset_after_the_finish_reason_leaves_the_answer_whole():
    def reply(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(HEAD + piece(event({"content": "x"}, "stop")) + b"500\r\ndata: ")
        connection.shutdown(socket.SHUT_RDWR)

    with serving(reply) as server:
        assert finishes(list(opened(server.url))) == ["stop"]


def test_stream_beyond_the_size_limit_is_refused(settings: Any):
    settings.GATEWAY_MAX_ANSWER_BYTES = 100_000

    def reply(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(HEAD)
        while not over.is_set():
            connection.sendall(piece(event({"content": "x" * 1000})))

    chunks, error = failing(reply)

    assert (error.code, error.is_retryable) == ("provider_malformed", False)
    assert 0 < len(text(chunks)) <= 100_000


def test_line_without_an_end_is_refused_at_the_size_limit(settings: Any):
    settings.GATEWAY_MAX_ANSWER_BYTES = 100_000

    def reply(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(HEAD + piece(b"data: "))
        while not over.is_set():
            connection.sendall(piece(b"x" * 1000))

    assert failing(reply)[1].code == "provider_malformed"


def test_event_too_deep_to_be_sent_on_is_malformed():
    deep: Any = []
    for _ in range(300):
        deep = [deep]

    assert failing(streaming(event({"content": "x", "annotations": deep})))[1].code == "provider_malformed"


def test_deadline_holds_for_a_stream_that_drips():
    def reply(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(HEAD)
        while not over.wait(0.02):
            connection.sendall(piece(event({"content": "x"})))

    chunks, error = failing(reply, timeout_s=0.3)

    assert len(chunks) > 1
    assert (error.code, error.was_executed) == ("provider_timeout", True)


@pytest.mark.parametrize("target", [None, Target("ftp://h", "k"), Target("h:1", "k"), Target("http://h", "k\u20ac"),
                                    Target("http://h", "k\nx: y"), Target("http://", "k"), Target("http://[", "k")],
                         ids=str)  # fmt: skip
def test_target_that_cannot_be_one_is_our_fault(target: Target | None):
    asked = CompletionRequest("c", "a", "t", "m", {"messages": []}, target)
    for ask in (OpenAICompatible().complete, lambda *a, **k: list(OpenAICompatible().stream(*a, **k))):
        with pytest.raises(GatewayError) as caught:
            ask(asked, timeout_s=1)
        assert (caught.value.code, caught.value.was_executed) == ("provider_configuration", False)


def test_secret_of_a_target_is_not_shown():
    assert KEY not in repr(request("http://127.0.0.1:1"))


def test_request_that_is_no_json_is_the_callers_fault():
    with pytest.raises(GatewayError) as caught:
        list(opened("http://127.0.0.1:1", stop="half an emoji \ud83d"))

    assert caught.value.code == "provider_rejected"


@pytest.mark.parametrize(
    ("fault", "code", "was_executed"),
    [
        ("fake-400", "provider_rejected", False),
        ("fake-401", "provider_configuration", False),
        ("fake-429", "provider_rate_limited", False),
        ("fake-500", "provider_error", True),
        ("fake-200-error", "provider_error", True),
        ("fake-content-filter", "content_filter", False),
        ("fake-reset", "provider_unavailable", True),
        ("fake-short-body", "provider_unavailable", True),
        ("fake-cut-0", "provider_unavailable", True),
        ("fake-cut-3", "provider_unavailable", True),
        ("fake-malformed-json", "provider_malformed", True),
        ("fake-truncated-json", "provider_unavailable", True),
        ("fake-stream-error", "provider_error", True),
        ("fake-wrong-type", "provider_unavailable", True),
        ("fake-empty", "provider_unavailable", True),
    ],
)
def test_each_fault_of_a_stream_has_its_code(provider: RunningProvider, fault: str, code: str, was_executed: bool):
    with pytest.raises(GatewayError) as caught:
        list(LiteLLMProxy().stream(request("http://127.0.0.1:1", model=fault), timeout_s=5))

    assert (caught.value.code, caught.value.was_executed) == (code, was_executed)
    said = f"{caught.value!r} {caught.value.__cause__!r}"
    assert not any(text in said for text in (CANARY_SECRET, CANARY_HOST, "sk-litellm", "127.0.0.1"))


@pytest.mark.parametrize("fault", ["fake-no-usage", "fake-negative-usage", "fake-absurd-usage", "fake-nan-usage"])
def test_stream_with_broken_usage_is_still_an_answer(provider: RunningProvider, fault: str):
    chunks = list(LiteLLMProxy().stream(request("http://127.0.0.1:1", model=fault), timeout_s=5))

    assert text(chunks) == "Answer 1 to: ?"
    assert chunks[-1].usage is None


def test_consumer_that_stops_is_seen_to_leave_by_the_provider(provider: RunningProvider):
    with closing(LiteLLMProxy().stream(request("http://127.0.0.1:1", model="fake-drip-20"), timeout_s=5)) as chunks:
        next(chunks)
    (execution,) = provider.wait_for(ended=1)

    assert execution.is_client_gone
