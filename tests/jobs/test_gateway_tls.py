"""The OpenAI-speaking routes over TLS: the same answers and deadline, and nothing without a good certificate."""

import datetime
import json
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from apps.jobs.gateway import deadline, openai_http
from apps.jobs.gateway.interface import CompletionRequest, GatewayError, Target
from apps.jobs.gateway.openai_compatible import OpenAICompatible
from tests.jobs.raw_http import Reply, response, sending, serving

HONEST = json.dumps({"choices": [{"message": {"content": "Hello."}, "finish_reason": "stop"}]}).encode()


@pytest.fixture(autouse=True)
def _own_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "_local", threading.local())
    monkeypatch.setattr(openai_http, "_local", threading.local())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a certificate of localhost that nobody else signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return file


def secured(reply: Reply, certificate: Path) -> Any:
    """The same server behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return serving(reply, tls=context)


def ask(url: str, *, timeout_s: float = 5.0) -> Any:
    target = Target(url.replace("http://127.0.0.1", "https://localhost"), "k")
    request = CompletionRequest("c", "a", "acme", "m", {"messages": []}, target)
    return OpenAICompatible().complete(request, timeout_s=timeout_s)


def test_answer_comes_over_a_kept_connection(certificate: Path):
    deadline.session().verify = str(certificate)
    with secured(sending(response(HONEST)), certificate) as server:
        for _ in range(2):
            assert ask(server.url).choices[0]["message"]["content"] == "Hello."

    assert server.connections == 1


def test_certificate_that_nobody_signed_is_refused(certificate: Path):
    with secured(sending(response(HONEST)), certificate) as server, pytest.raises(GatewayError) as caught:
        ask(server.url)

    assert (caught.value.code, caught.value.was_executed, server.requests) == ("provider_unavailable", False, [])


def test_deadline_holds_over_tls(certificate: Path):
    def dripping(connection: Any, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
        while not over.wait(0.02):
            connection.sendall(b"y")

    deadline.session().verify = str(certificate)
    with secured(dripping, certificate) as server, pytest.raises(GatewayError) as caught:
        ask(server.url, timeout_s=0.4)

    assert caught.value.code == "provider_timeout"
