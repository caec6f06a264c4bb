"""How the LiteLLM route fails: right code and status, in time, and never a secret, a host or a provider's text."""

import json
import logging
import socket
import threading
import time
from typing import Any

import pytest

from apps.jobs.gateway import deadline, openai_http
from apps.jobs.gateway.interface import CompletionRequest, GatewayError
from apps.jobs.gateway.litellm_proxy import LiteLLMProxy
from tests.harness.fake_provider import RunningProvider
from tests.harness.faults import CANARY_HOST, CANARY_SECRET
from tests.harness.ports import free_port
from tests.jobs.raw_http import RawServer, Reply, response, sending, serving

# Much more than an answer on loopback takes, much less than a test may take.
SHORT_S = 0.4


@pytest.fixture(autouse=True)
def _own_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "_local", threading.local())
    monkeypatch.setattr(openai_http, "_local", threading.local())


def failure(settings: Any, url: str, *, model: str = "gpt-4", timeout_s: float = 5.0) -> GatewayError:
    settings.LITELLM_BASE_URL = url
    request = CompletionRequest(
        "call-1", "attempt-1", "acme", model, {"messages": [{"role": "user", "content": "?"}]}
    )
    with pytest.raises(GatewayError) as caught:
        LiteLLMProxy().complete(request, timeout_s=timeout_s)
    return caught.value


def answered(settings: Any, data: bytes, *, timeout_s: float = 5.0) -> GatewayError:
    with serving(sending(data)) as server:
        return failure(settings, server.url, timeout_s=timeout_s)


def kind(error: GatewayError) -> tuple[str, int, bool, bool]:
    """Its code and status, whether it may be tried again, and whether the provider may have billed it."""
    return error.code, error.status, error.is_retryable, error.was_executed


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("fake-400", ("provider_rejected", 400, False, False)),
        ("fake-401", ("provider_configuration", 503, False, False)),
        ("fake-429", ("provider_rate_limited", 429, True, False)),
        ("fake-500", ("provider_error", 500, True, True)),
        ("fake-200-error", ("provider_error", 500, True, True)),
        ("fake-content-filter", ("content_filter", 400, False, False)),
        ("fake-reset", ("provider_unavailable", 503, True, True)),
        ("fake-short-body", ("provider_unavailable", 503, True, True)),
        ("fake-malformed-json", ("provider_malformed", 500, True, True)),
        ("fake-truncated-json", ("provider_malformed", 500, True, True)),
        ("fake-wrong-type", ("provider_malformed", 500, True, True)),
        ("fake-empty", ("provider_malformed", 500, True, True)),
        ("fake-misspelt", ("provider_configuration", 503, False, False)),
    ],
)
def test_each_fault_has_its_code_and_status(
    provider: RunningProvider, settings: Any, fault: str, expected: tuple[str, int, bool, bool]
):
    error = failure(settings, provider.url, model=fault)

    assert kind(error) == expected
    public = f"{error} {error.reason}"
    assert CANARY_SECRET not in public
    assert CANARY_HOST not in public
    assert settings.LITELLM_MASTER_KEY not in public
    assert provider.url.removeprefix("http://") not in public


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("403 Forbidden", ("provider_configuration", 503, False, False)),
        ("404 Not Found", ("provider_configuration", 503, False, False)),
        ("408 Request Timeout", ("provider_unavailable", 503, True, False)),
        ("413 Too Large", ("provider_rejected", 400, False, False)),
        ("422 Unprocessable", ("provider_rejected", 400, False, False)),
        ("502 Bad Gateway", ("provider_unavailable", 503, True, False)),
        ("503 Unavailable", ("provider_unavailable", 503, True, False)),
        ("504 Gateway Timeout", ("provider_unavailable", 503, True, False)),
        ("529 Overloaded", ("provider_unavailable", 503, True, False)),
        ("501 Not Implemented", ("provider_error", 500, True, True)),
        ("418 Teapot", ("provider_error", 500, False, True)),
        ("201 Created", ("provider_error", 500, False, True)),
    ],
)
def test_each_status_has_its_code(settings: Any, status: str, expected: tuple[str, int, bool, bool]):
    assert kind(answered(settings, response(b"<html>secret</html>", status=status))) == expected


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("400 Bad Request", "{'error': 'no_db_connection: No connected db.'}"),
        ("400 Bad Request", "Invalid model name passed in model=gpt-9. Call `/v1/models` to view available models"),
        ("500 Error", "Authentication Error, No api key passed in."),
        ("401 Unauthorized", "Authentication Error, Invalid proxy server token passed"),
    ],
)
def test_our_own_misconfiguration_is_not_blamed_on_the_caller(settings: Any, status: str, message: str):
    error = answered(settings, response(json.dumps({"error": {"message": message}}).encode(), status=status))

    assert kind(error) == ("provider_configuration", 503, False, False)
    assert error.reason == "the model is not available"


@pytest.mark.parametrize("word", ["ContentPolicyViolationError", "content_filter", "content management policy"])
def test_content_filters_are_known_by_their_words(settings: Any, word: str):
    error = answered(settings, response(json.dumps({"error": {"message": word}}).encode(), status="400 Bad"))

    assert kind(error) == ("content_filter", 400, False, False)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("retry-after: 7\r\n", 7),
        ("retry-after: 0\r\n", 1),
        ("retry-after: 86400\r\n", 300),
        ("retry-after: Wed, 21 Oct 2026 07:28:00 GMT\r\n", 5),
        ("retry-after: -3\r\n", 5),
        ("", 5),
        (f"retry-after: {'9' * 5000}\r\n", 5),
    ],
    ids=["seconds", "zero", "a day", "a date", "negative", "none", "digits without end"],
)
def test_retry_after_is_passed_on_within_reason(settings: Any, header: str, seconds: int):
    error = answered(settings, response(b"{}", status="429 Too Many", headers=header))

    assert (error.code, error.retry_after_s) == ("provider_rate_limited", seconds)


def test_refused_connection_is_unavailable_and_cost_nothing(settings: Any):
    error = failure(settings, f"http://127.0.0.1:{free_port()}")

    assert kind(error) == ("provider_unavailable", 503, True, False)


def test_unknown_host_is_unavailable_and_not_named(settings: Any):
    error = failure(settings, "http://no-such-host.invalid:8002")

    assert kind(error) == ("provider_unavailable", 503, True, False)
    assert "no-such-host" not in str(error)


def test_body_of_a_redirect_is_not_read_without_a_limit(settings: Any):
    settings.GATEWAY_MAX_ANSWER_BYTES = 100_000

    def without_end(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 1000000000\r\n\r\n")
        while not over.is_set():
            connection.sendall(b" " * 65_536)

    with serving(without_end) as server:
        assert failure(settings, server.url).code == "provider_malformed"


def test_broken_headers_are_logged_without_the_host(settings: Any, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING)
    with serving(sending(response(b"{}", headers=": no name\r\nother\r\n"))) as server:
        failure(settings, server.url)

    assert "127.0.0.1" not in caplog.text


def test_redirect_is_not_followed(settings: Any):
    with serving(sending(response(b"{}"))) as target:
        data = response(b"", status="302 Found", headers=f"location: {target.url}/v1/chat/completions\r\n")
        error = answered(settings, data)

    assert kind(error) == ("provider_error", 500, False, True)
    assert target.connections == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"text"', b"{}", b'{"choices": null}', b'{"choices": {}}', b'{"choices": [null]}',
     b'{"choices": [{"message": "text"}]}', b'{"choices": [{}]}', b"\xff\xfe", b"[" * 100_000],
    ids=lambda body: body[:20].decode(errors="replace"),
)  # fmt: skip
def test_answer_of_another_shape_is_malformed(settings: Any, body: bytes):
    assert kind(answered(settings, response(body))) == ("provider_malformed", 500, True, True)


def test_answer_too_deep_to_be_kept_is_malformed(settings: Any):
    body = b'{"choices": [{"message": {"content": "x", "annotations": ' + b"[" * 300 + b"]" * 300 + b"}}]}"

    assert answered(settings, response(body)).code == "provider_malformed"


@pytest.mark.parametrize(
    "data",
    [
        b"220 mail.example ESMTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nxx",
        response(b"this is no gzip", headers="content-encoding: gzip\r\n"),
        b"HTTP/1.1 200 OK\r\nx-long: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n",
    ],
    ids=["another protocol", "broken chunks", "broken gzip", "a header without end", "headers without end"],
)
def test_what_is_no_http_breaks_off(settings: Any, data: bytes):
    assert kind(answered(settings, data)) == ("provider_unavailable", 503, True, True)


def test_answer_beyond_the_size_limit_is_refused_unread(settings: Any):
    settings.GATEWAY_MAX_ANSWER_BYTES = 100_000
    sent = 0

    def without_end(connection: socket.socket, over: threading.Event) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        while not over.is_set():
            sent += connection.send(b" " * 65_536)

    with serving(without_end) as server:
        error = failure(settings, server.url)

    assert kind(error) == ("provider_malformed", 500, False, True)
    assert sent < 20_000_000


def _silent(connection: socket.socket, over: threading.Event) -> None:
    over.wait(30)


def _dripping(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{")
    while not over.wait(0.02):
        connection.sendall(b" ")


def _stalling(connection: socket.socket, over: threading.Event) -> None:
    """Starts just in time, then goes silent: a time limit on single reads would allow twice the deadline."""
    over.wait(SHORT_S * 0.8)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{")
    over.wait(30)


def _dripping_its_status(connection: socket.socket, over: threading.Event) -> None:
    while not over.wait(0.02):
        connection.sendall(b"H")


def _dripping_its_headers(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
    while not over.wait(0.02):
        connection.sendall(b"y")


def _never_past_continue(connection: socket.socket, over: threading.Event) -> None:
    while not over.wait(0.02):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def _dripping_a_redirect(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 100000\r\n\r\n{")
    while not over.wait(0.02):
        connection.sendall(b" ")


@pytest.mark.parametrize(
    "reply",
    [
        _silent,
        _dripping,
        _stalling,
        _dripping_its_status,
        _dripping_its_headers,
        _never_past_continue,
        _dripping_a_redirect,
    ],
)
def test_deadline_holds_however_slowly_the_bytes_come(settings: Any, reply: Reply):
    started = time.monotonic()
    with serving(reply) as server:
        error = failure(settings, server.url, timeout_s=SHORT_S)
        took_s = time.monotonic() - started

    assert kind(error) == ("provider_timeout", 503, True, True)
    assert SHORT_S * 0.9 < took_s < SHORT_S * 1.5


def test_connect_timeout_is_unavailable_and_cost_nothing(settings: Any):
    settings.GATEWAY_CONNECT_TIMEOUT_S = 0.1
    # A full backlog: the kernel drops further connection requests, and nobody accepts.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        error = failure(settings, f"http://127.0.0.1:{port}")
        for filler in fillers:
            filler.close()

    assert kind(error) == ("provider_unavailable", 503, True, False)


def test_session_works_again_after_each_kind_of_failure(settings: Any):
    bad = iter([response(b"no json"), b"garbage\r\n\r\n", response(b"{}", status="500 Oops")])

    def next_reply(connection: socket.socket, over: threading.Event) -> None:
        data = next(bad, None)
        connection.sendall(data or response(b'{"choices": [{"message": {"content": "well again"}}]}'))

    with serving(next_reply) as server:
        for _ in range(3):
            failure(settings, server.url)
        completion = _ask(settings, server)

    assert completion.choices[0]["message"]["content"] == "well again"


def _ask(settings: Any, server: RawServer) -> Any:
    settings.LITELLM_BASE_URL = server.url
    request = CompletionRequest("call-1", "attempt-1", "acme", "m", {"messages": []})
    return LiteLLMProxy().complete(request, timeout_s=5)
