"""Callers of /v1, a provider that says what a test tells it to, and OpenAI's client against a server in a thread.

After each test everything stored must still add up.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest

from apps.core import verification
from apps.jobs import asking
from apps.jobs.gateway.interface import Completion, CompletionRequest, GatewayError, Usage
from tests import make
from tests.api.calling import Caller


@pytest.fixture(autouse=True)
def _everything_adds_up(request: pytest.FixtureRequest) -> Iterator[None]:
    database = next((name for name in ("transactional_db", "db") if name in request.fixturenames), None)
    if database is not None:
        # Asked for here, so that it is still there when this fixture ends.
        request.getfixturevalue(database)
    yield
    if database is not None:
        assert [str(difference) for difference in verification.differences()] == []


@pytest.fixture
def operator(db: None, operator_headers: dict[str, str]) -> Caller:
    return Caller(operator_headers)


@pytest.fixture
def team_key(acme: make.Customer) -> Caller:
    """Acme's own virtual key."""
    return Caller(acme.headers)


@pytest.fixture
def stranger(globex: make.Customer) -> Caller:
    """The virtual key of another organization's team."""
    return Caller(globex.headers)


@dataclass
class Provider:
    """What it was asked, and what it says next: a message, or an error. Without either it says its number."""

    asked: list[CompletionRequest] = field(default_factory=list)
    says: list[dict[str, Any] | GatewayError] = field(default_factory=list)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [request.body for request in self.asked]

    def fails(self, code: str = "provider_unavailable", *, status: int = 503, **more: Any) -> None:
        self.says.append(GatewayError(code, "the model did not answer", status=status, **more))

    def complete(self, request: CompletionRequest, *, timeout_s: float) -> Completion:
        self.asked.append(request)
        said = self.says.pop(0) if self.says else {"content": f"Answer {len(self.asked)}"}
        if isinstance(said, GatewayError):
            raise said
        finish = "tool_calls" if said.get("tool_calls") else "stop"
        return Completion(
            provider_id=f"chatcmpl-{len(self.asked)}",
            created=int(time.time()),
            resolved_model="secret-provider-model",
            choices=[
                {"index": index, "message": {"role": "assistant", **said}, "finish_reason": finish}
                for index in range(request.body.get("n") or 1)
            ],
            usage=Usage(10, 5),
        )


@pytest.fixture
def provider(worker: None, monkeypatch: pytest.MonkeyPatch) -> Provider:
    found = Provider()
    monkeypatch.setattr(asking, "gateway_for", lambda route: found)
    return found


@pytest.fixture
def retry_pauses(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """OpenAI's client does not sleep between tries; what is in this list is done then, one at each."""
    meanwhile: list[Callable[[], object]] = []

    def pause(*arguments: Any, **keywords: Any) -> float:
        if meanwhile:
            meanwhile.pop(0)()
        return 0.0

    monkeypatch.setattr(openai._base_client.BaseClient, "_calculate_retry_timeout", pause)
    return meanwhile
