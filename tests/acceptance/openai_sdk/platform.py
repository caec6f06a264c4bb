"""A served platform as the checks meet it: its address, its operator's key, and what stands behind it.

Invariant: nothing but HTTP. Whether it is the demo or web, worker and LiteLLM's proxy is told by `Backend` alone.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai

from tests.acceptance.openai_sdk.blocking import Blocking
from tests.acceptance.openai_sdk.watching import Watch

ORGANIZATION = "sdk"
# Aliases open to all, by what the model behind them does.
CHAT, LIMITED, BROKEN, CHOOSY, CUT, SLOW = (
    "sdk-chat",
    "sdk-limited",
    "sdk-broken",
    "sdk-choosy",
    "sdk-cut",
    "sdk-slow",
)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Backend:
    """What answers: its models by alias, words of its side that no customer may see, and what it can do."""

    route: str
    models: Mapping[str, str]
    never_seen: tuple[str, ...]
    # What it says of itself that customers may read.
    own_words: tuple[str, ...] = ()
    # Tells logprobs, ends at `stop`, and answers what parameters it was sent.
    is_able: bool = True
    embedding_dimensions: int = 0


@dataclass
class Customer:
    """A team with credits, its clients, and what they were sent."""

    platform: "Platform"
    team_id: str
    key: str
    # The client that a check runs through: OpenAI's, or its asynchronous one behind the same face.
    client: Any
    http: httpx.Client
    watch: Watch
    # Done between the client's tries, one at each; it does not sleep.
    between_tries: list[Callable[[], object]] = field(default_factory=list)

    @property
    def backend(self) -> Backend:
        return self.platform.backend

    def api(self, method: str, path: str, **body: Any) -> Any:
        """The JSON of a request to /api by the team's key."""
        answer = self.http.request(
            method,
            f"{self.platform.url}/api{path}",
            headers={"Authorization": f"Bearer {self.key}"},
            json=body or None,
        )
        answer.raise_for_status()
        return answer.json()

    def left(self) -> float:
        """Exact credits that can be spent now."""
        return float(self.api("GET", f"/credits/teams/{self.team_id}/balance")["credits_exact"])

    def jobs(self) -> list[dict[str, Any]]:
        """Its jobs, each as the API tells it."""
        jobs: list[dict[str, Any]] = self.api("GET", f"/teams/{self.team_id}/jobs")["jobs"]
        return jobs

    def statuses(self) -> list[str]:
        return sorted(job["status"] for job in self.jobs())

    def tries(self, path: str = "/v1/chat/completions") -> int:
        """How often the client asked."""
        return self.watch.sent.count(path)


class Platform:
    """Makes customers and models through the operator's API."""

    def __init__(self, url: str, *, master_key: str, backend: Backend) -> None:
        self.url = url
        self.backend = backend
        self._operator = httpx.Client(base_url=f"{url}/api", headers={"X-Admin-Key": master_key}, timeout=60)

    def prepare(self) -> None:
        """The organization and the models, as far as they are missing."""
        self.operate("POST", "/organizations/create", organization_id=ORGANIZATION, name="SDK", is_repeated=True)
        for alias in self.backend.models:
            self.make_model(alias, like=alias)

    def make_model(self, alias: str, *, like: str) -> None:
        """An alias open to all, of the model that stands behind another one."""
        self.operate(
            "POST",
            "/models/create",
            is_repeated=True,
            model_alias=alias,
            display_name=alias,
            provider="openai",
            actual_model=self.backend.models[like],
            route=self.backend.route,
            is_open=True,
        )

    def turn_model(self, alias: str, *, like: str) -> None:
        """Let an alias be of another model from now on."""
        self.operate("PUT", f"/models/{alias}", actual_model=self.backend.models[like])

    def new_key(self, team_id: str, **limits: Any) -> str:
        """Another key of a team."""
        key: str = self.operate("POST", f"/teams/{team_id}/keys", **limits)["virtual_key"]
        return key

    def operate(self, method: str, path: str, *, is_repeated: bool = False, **body: Any) -> Any:
        answer = self._operator.request(method, path, json=body)
        if is_repeated and answer.status_code == 400 and "exists" in answer.text:
            return None
        assert answer.is_success, (path, answer.status_code, answer.text)
        return answer.json()

    @contextmanager
    def customer(self, *, is_async: bool, credits: int = 10) -> Iterator[Customer]:
        """A team of its own, with what it was sent judged at the end."""
        team_id = f"sdk-{next(_numbers)}"
        made = self.operate(
            "POST", "/teams/create", organization_id=ORGANIZATION, team_id=team_id, credits_allocated=credits
        )
        watch = Watch(never_seen=self.backend.never_seen, own_words=self.backend.own_words)
        with watch.client() as http, asyncio.Runner() as runner:
            between: list[Callable[[], object]] = []
            options: dict[str, Any] = {"base_url": f"{self.url}/v1", "api_key": made["virtual_key"]}
            if is_async:
                loop, async_http = runner.get_loop(), watch.async_client()
                client: Any = Blocking(
                    _impatient(openai.AsyncOpenAI, between)(http_client=async_http, **options), loop
                )
            else:
                client = _impatient(openai.OpenAI, between)(http_client=http, **options)
            yield Customer(self, team_id, made["virtual_key"], client, http, watch, between)
            if is_async:
                runner.run(async_http.aclose())
            watch.judge()


def _impatient(kind: Any, between: list[Callable[[], object]]) -> Any:
    """The client, doing what is in `between` instead of sleeping between its tries."""

    class Impatient(kind):  # type: ignore[misc]
        def _calculate_retry_timeout(self, *arguments: Any, **keywords: Any) -> float:
            if between:
                between.pop(0)()
            return 0.0

    return Impatient
