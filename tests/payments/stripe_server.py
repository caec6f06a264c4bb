"""A Stripe of our own: records what it is asked, answers as told, and the same key gets the same answer."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

RECORDED = Path(__file__).parent / "recorded"
SECRET = "whsec_of_these_tests"
KEY = "sk_test_of_these_tests_that_nobody_may_read"


@dataclass(frozen=True)
class Asked:
    path: str
    headers: dict[str, str]
    form: dict[str, str]


@dataclass
class FakeStripe:
    """`answers` are used up first; without any a checkout or a charge succeeds."""

    asked: list[Asked] = field(default_factory=list)
    answers: list[tuple[int, Any]] = field(default_factory=list)
    by_key: dict[str, tuple[int, Any]] = field(default_factory=dict)
    base: str = ""
    lock: Any = field(default_factory=threading.Lock)

    def answer(self, asked: Asked) -> tuple[int, Any]:
        with self.lock:
            self.asked.append(asked)
            key = asked.headers["Idempotency-Key"]
            if key not in self.by_key:
                given = self.answers.pop(0) if self.answers else self._usual(len(self.by_key) + 1, asked)
                if given[0] >= 500 or given[0] == 429:
                    return given
                self.by_key[key] = given
            return self.by_key[key]

    def _usual(self, number: int, asked: Asked) -> tuple[int, Any]:
        if asked.path == "/v1/checkout/sessions":
            return 200, {"id": f"cs_test_{number}", "url": f"https://checkout.stripe.com/c/pay/cs_test_{number}"}
        return 200, {"id": f"pi_topup_{number}", "status": "succeeded", "next_action": None}


@contextmanager
def running() -> Iterator[FakeStripe]:
    fake = FakeStripe()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = Asked(self.path, dict(self.headers), dict(parse_qsl(body.decode())))
            status, answer = fake.answer(asked)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    fake.base = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()


def recorded(name: str, *, event_id: str | None = None, **changes: Any) -> bytes:
    """A recorded event with another id, or fields of its object changed."""
    event = json.loads((RECORDED / f"{name}.json").read_text())
    if event_id is not None:
        event["id"] = event_id
    event["data"]["object"] |= changes
    return json.dumps(event).encode()


def signature(body: bytes, *, secret: str = SECRET, age_s: float = 0) -> str:
    timestamp = int(time.time() - age_s)
    mac = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"t={timestamp},v1={mac.hexdigest()},v0={'0' * 64}"
