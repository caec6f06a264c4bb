"""Requests that many tests of /v1 begin with."""

import json
from typing import Any

from apps.limits import gate
from tests.api.calling import MESSAGES, Caller

CHAT = "/v1/chat/completions"


def chat(caller: Caller, headers: dict[str, str] | None = None, **more: Any) -> Any:
    return caller.post(CHAT, {"messages": MESSAGES, **more}, **(headers or {}))


def retried(caller: Caller, count: int = 1, headers: dict[str, str] | None = None, **more: Any) -> Any:
    """The same as OpenAI's client sends it again by itself."""
    return chat(caller, {"x-stainless-retry-count": str(count), **(headers or {})}, **more)


def refused(answer: Any, status: int) -> dict[str, Any]:
    """The error of a refusal, which has exactly OpenAI's keys, and beside them what a limit says."""
    assert answer.status_code == status, (answer.status_code, answer.content)
    assert answer["Content-Type"] == "application/json"
    body = json.loads(answer.content)
    assert list(body) == ["error"]
    error: dict[str, Any] = body["error"]
    assert set(error) - {*gate.TOLD, "decision_id"} == {"message", "type", "param", "code"}
    assert error["message"]
    return error
