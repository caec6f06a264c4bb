"""A customer's code over HTTP: thin, one method a request, so that a test reads as what a customer does."""

import json
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import requests

# Longer than any wait of the server's that a test asks for: a client that gives up earlier says so.
TIMEOUT_S = 60.0


class Customer:
    """A team's key and where the API is. Safe for several threads: each request has a connection of its own."""

    def __init__(self, base_url: str, *, team_id: str, key: str) -> None:
        self.base_url = base_url
        self.team_id = team_id
        self.key = key

    def request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """A request with this key."""
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method,
                f"{self.base_url}/api{path}",
                json=body,
                timeout=timeout_s,
                headers={"Authorization": f"Bearer {self.key}", **(headers or {})},
            )

    def get(self, path: str) -> requests.Response:
        return self.request("GET", path)

    def open_job(self, job_type: str = "query", **fields: Any) -> str:
        """A new job's id.  Raises: requests.HTTPError."""
        response = self.request("POST", "/jobs/create", {"team_id": self.team_id, "job_type": job_type, **fields})
        response.raise_for_status()
        job_id: str = response.json()["job_id"]
        return job_id

    def call(
        self, job_id: str, text: str, *, model: str | None = None, wait_s: int | None = None
    ) -> requests.Response:
        """Ask one question in a job."""
        body: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
        if model is not None:
            body["model"] = model
        return self.request("POST", f"/jobs/{job_id}/llm-call", body, headers=_waiting(wait_s))

    def create_and_call(
        self, text: str, *, model: str | None = None, wait_s: int | None = None, idempotency_key: str | None = None
    ) -> requests.Response:
        """Ask one question in a job of its own."""
        body: dict[str, Any] = {
            "team_id": self.team_id,
            "job_type": "query",
            "messages": [{"role": "user", "content": text}],
        }
        if model is not None:
            body["model"] = model
        headers = _waiting(wait_s)
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        return self.request("POST", "/jobs/create-and-call", body, headers=headers)

    def stream(
        self, text: str, *, model: str | None = None, job_id: str | None = None, idempotency_key: str | None = None
    ) -> "Stream":
        """Ask one question for an answer piece by piece, in this job or in one of its own."""
        body: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
        if job_id is None:
            body |= {"team_id": self.team_id, "job_type": "query"}
        if model is not None:
            body["model"] = model
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        path = "/jobs/create-and-call-stream" if job_id is None else f"/jobs/{job_id}/llm-call-stream"
        return Stream(self.base_url, f"/api{path}", body, headers)

    def complete(self, job_id: str, status: str = "completed") -> requests.Response:
        return self.request("POST", f"/jobs/{job_id}/complete", {"status": status})

    def call_of(self, job_id: str, call_id: str) -> dict[str, Any]:
        """A call as its URL shows it.  Raises: requests.HTTPError."""
        response = self.get(f"/jobs/{job_id}/calls/{call_id}")
        response.raise_for_status()
        found: dict[str, Any] = response.json()
        return found


class Stream:
    """A streamed answer on a connection of its own, read as far as the test wants."""

    def __init__(self, base_url: str, path: str, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        self.events: list[dict[str, Any]] = []
        self.is_done = False
        self._connection = HTTPConnection(urlsplit(base_url).netloc, timeout=TIMEOUT_S)
        self._connection.request("POST", path, json.dumps(body), dict(headers))

    def open(self) -> "Stream":
        """Read the head."""
        self.response = self._connection.getresponse()
        return self

    @property
    def job_id(self) -> str:
        return self.response.headers["X-Job-Id"]

    @property
    def call_id(self) -> str:
        return self.response.headers["X-Call-Id"]

    @property
    def text(self) -> str:
        """What the pieces said so far."""
        deltas = [choice["delta"] for event in self.events for choice in event.get("choices", ())]
        return "".join(delta.get("content", "") for delta in deltas)

    def read(self, pieces: int | None = None) -> "Stream":
        """Read so many more events, or all to `[DONE]`, which is noted."""
        until = None if pieces is None else len(self.events) + pieces
        while not self.is_done and (until is None or len(self.events) < until):
            line = self.response.readline()
            if not line:
                break
            data = line.strip().removeprefix(b"data: ")
            if data == b"[DONE]":
                self.is_done = True
            elif data and not data.startswith(b":"):
                self.events.append(json.loads(data))
        return self

    def cut(self, after_bytes: int) -> bytes:
        """Read so many bytes of whatever comes, head included, and close the connection. Returns them."""
        assert self._connection.sock is not None
        read = b""
        while len(read) < after_bytes:
            more = self._connection.sock.recv(after_bytes - len(read))
            if not more:
                break
            read += more
        self.leave()
        return read

    def leave(self) -> None:
        """Close the connection without a word."""
        if hasattr(self, "response"):
            self.response.close()
        self._connection.close()


def _waiting(wait_s: int | None) -> dict[str, str]:
    return {} if wait_s is None else {"Prefer": f"wait={wait_s}"}
