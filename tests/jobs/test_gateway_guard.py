"""A credential's host is called at the address that was judged, and at no internal one that its name stands for."""

import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from apps.jobs.gateway import deadline, openai_http
from apps.jobs.gateway.interface import Completion, CompletionRequest, GatewayError, Target
from apps.jobs.gateway.litellm_proxy import LiteLLMProxy
from apps.jobs.gateway.openai_compatible import OpenAICompatible
from tests.jobs.raw_http import response, sending, serving
from tests.jobs.test_gateway_answers import HONEST

Resolve = Callable[..., None]


@pytest.fixture(autouse=True)
def _own_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "_local", threading.local())
    monkeypatch.setattr(openai_http, "_local", threading.local())


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Have llm.example.com stand for these addresses, one list for each time that it is asked for."""
    real = socket.getaddrinfo

    def stand_for(*answers: list[str]) -> None:
        left = list(answers)

        def getaddrinfo(host: Any, port: Any, *args: Any, **more: Any) -> Any:
            if host != "llm.example.com":
                return real(host, port, *args, **more)
            return [found for address in left.pop(0) for found in real(address, port, type=socket.SOCK_STREAM)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return stand_for


def ask(base_url: str) -> Completion:
    request = CompletionRequest("c", "a", "acme", "m", {"messages": []}, Target(base_url, "k"))
    return OpenAICompatible().complete(request, timeout_s=5.0)


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["::1"], ["::ffff:192.168.0.1"], ["8.8.8.8", "127.0.0.1"]],
    ids=str,
)
def test_name_that_stands_for_an_internal_address_is_not_called(resolve: Resolve, addresses: list[str]):
    with serving(sending(response(json.dumps(HONEST).encode()))) as server:
        resolve(addresses)
        with pytest.raises(GatewayError) as caught:
            ask(f"http://llm.example.com:{server.url.rsplit(':', 1)[1]}")

    assert (caught.value.code, caught.value.was_executed, server.connections) == ("provider_configuration", False, 0)


def test_metadata_is_not_called_even_where_internal_addresses_are(resolve: Resolve, settings: Any):
    settings.PROVIDERS_MAY_BE_INTERNAL = True
    resolve(["169.254.169.254"])
    with pytest.raises(GatewayError) as caught:
        ask("http://llm.example.com")
    assert caught.value.code == "provider_configuration"


def test_name_is_resolved_once_a_connection_and_stays_the_host(resolve: Resolve, settings: Any):
    settings.PROVIDERS_MAY_BE_INTERNAL = True
    with serving(sending(response(json.dumps(HONEST).encode()))) as server:
        port = server.url.rsplit(":", 1)[1]
        # A second look would find another address, or nothing.
        resolve(["127.0.0.1"])
        for _ in range(2):
            ask(f"http://llm.example.com:{port}")

    assert server.connections == 1
    assert f"host: llm.example.com:{port}" in server.heads[0]


def test_other_address_is_taken_when_the_first_one_is_closed(resolve: Resolve, settings: Any):
    settings.PROVIDERS_MAY_BE_INTERNAL = True
    with serving(sending(response(json.dumps(HONEST).encode()))) as server:
        resolve(["127.0.0.2", "127.0.0.1"])
        assert ask(f"http://llm.example.com:{server.url.rsplit(':', 1)[1]}").choices


def test_address_that_was_typed_is_called(settings: Any):
    with serving(sending(response(json.dumps(HONEST).encode()))) as server:
        assert ask(server.url).choices
        assert ask(server.url.replace("127.0.0.1", "localhost")).choices


def test_our_own_proxy_may_be_anywhere(resolve: Resolve, settings: Any):
    with serving(sending(response(json.dumps(HONEST).encode()))) as server:
        settings.LITELLM_BASE_URL = f"http://llm.example.com:{server.url.rsplit(':', 1)[1]}"
        resolve(["127.0.0.1"])
        request = CompletionRequest("c", "a", "acme", "m", {"messages": []})
        assert LiteLLMProxy().complete(request, timeout_s=5.0).choices


def test_name_that_stands_for_nothing_is_unreachable(monkeypatch: pytest.MonkeyPatch):
    def getaddrinfo(*_: Any, **__: Any) -> Any:
        raise socket.gaierror("not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(GatewayError) as caught:
        ask("http://llm.example.com")
    assert caught.value.code == "provider_unavailable"
