"""How tests speak to the API: JSON as one caller, and the requests that many tests begin with."""

from dataclasses import dataclass, field
from typing import Any

from django.test import Client

MESSAGES = [{"role": "user", "content": "What is Python?"}]


@dataclass(frozen=True)
class Caller:
    """Somebody who speaks JSON to the API. `key` is an Idempotency-Key."""

    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **query: Any) -> Any:
        return Client().get(path, query_params=query or None, headers=self.headers)

    def post(self, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> Any:
        return self._send("post", path, body, headers | ({"Idempotency-Key": key} if key else {}))

    def put(self, path: str, body: Any = None) -> Any:
        return self._send("put", path, body, {})

    def patch(self, path: str, body: Any = None) -> Any:
        return self._send("patch", path, body, {})

    def delete(self, path: str) -> Any:
        return Client().delete(path, headers=self.headers)

    def raw(self, path: str, body: bytes, *, content_type: str = "application/json") -> Any:
        return Client().generic("POST", path, body, content_type, headers=self.headers)

    def _send(self, verb: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        send = getattr(Client(), verb)
        if body is None:
            # As HTTP libraries do without a body: no content type either.
            return send(path, data=b"", content_type="", headers=self.headers | headers)
        return send(path, data=body, content_type="application/json", headers=self.headers | headers)


def opened_job(caller: Caller, team_id: str = "acme", **more: Any) -> str:
    """The id of a job opened over HTTP."""
    answer = caller.post("/api/jobs/create", {"team_id": team_id, "job_type": "query", **more})
    assert answer.status_code == 200, answer.content
    return str(answer.json()["job_id"])


def ask(caller: Caller, job_id: str, **more: Any) -> Any:
    """An llm-call into a job."""
    return caller.post(f"/api/jobs/{job_id}/llm-call", {"messages": MESSAGES, **more})


def finished_job(caller: Caller, team_id: str = "acme", **more: Any) -> str:
    """A job with one call, completed."""
    job_id = opened_job(caller, team_id, **more)
    assert ask(caller, job_id).status_code == 200
    assert caller.post(f"/api/jobs/{job_id}/complete", {"status": "completed"}).status_code == 200
    return job_id


def located(answer: Any) -> list[list[Any]]:
    """Where a 422 says that its fields are."""
    assert answer.status_code == 422, (answer.status_code, answer.content)
    detail = answer.json()["detail"]
    assert all({"type", "loc", "msg"} <= set(item) for item in detail)
    return [item["loc"] for item in detail]
