"""The load generator, a process of its own so that its CPU is apart: closed loops over keep-alive connections.

Reads one JSON command a line and answers each with one JSON line. Each answer of the product is checked; a wrong
one is an error, not a call.
"""

import asyncio
import json
import math
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

_TIMEOUT_S = 60.0
# As a customer's job may have them; far below CALLS_PER_JOB_MAX.
CALLS_PER_JOB = 100
# A client that fails this often gives up: the run has failed, and must not become a flood.
_ERRORS_MAX = 10
_SYSTEM = "You are a helpful assistant. Answer in one short paragraph, and say so when you do not know."


class WrongAnswer(Exception):
    """Raised for an answer that is not what a customer paid for."""


@dataclass(slots=True)
class Client:
    """One caller: its next call starts when its last one is answered."""

    http: aiohttp.ClientSession
    url: str
    team_id: str
    headers: dict[str, str]
    number: int
    jobs: list[str] = field(default_factory=list)
    calls: int = 0
    latencies_s: list[float] = field(default_factory=list)
    # Of streams: how long the first text took, and how many chunks came in all.
    firsts_s: list[float] = field(default_factory=list)
    chunks: int = 0
    errors: list[str] = field(default_factory=list)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        async with self.http.post(self.url + path, data=orjson.dumps(body), headers=self.headers) as response:
            content = await response.read()
            if response.status != 200:
                raise WrongAnswer(f"{path.rpartition('/')[2]}: {response.status} {content[:200]!r}")
        return orjson.loads(content)

    async def open_job(self) -> str:
        job = await self.post("/api/jobs/create", {"team_id": self.team_id, "job_type": "bench"})
        return str(job["job_id"])

    async def call(self, job_id: str) -> None:
        self.calls += 1
        question = f"Question {self.calls} of client {self.number}: what is Python used for?"
        answer = await self.post(
            f"/api/jobs/{job_id}/llm-call",
            {"messages": [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": question}]},
        )
        if not answer["response"]["content"]:
            raise WrongAnswer(f"llm-call: no content in {answer}")

    async def complete(self, job_id: str) -> Any:
        return (await self.post(f"/api/jobs/{job_id}/complete", {"status": "completed"}))["costs"]

    async def llm_call(self) -> None:
        """A call into one of the client's open jobs."""
        place = self.calls // CALLS_PER_JOB
        if place >= len(self.jobs):
            self.jobs.append(await self.open_job())
        await self.call(self.jobs[place])

    async def stream(self) -> None:
        """The same, its answer in pieces."""
        place = self.calls // CALLS_PER_JOB
        if place >= len(self.jobs):
            self.jobs.append(await self.open_job())
        self.calls += 1
        await self._read(f"{self.url}/api/jobs/{self.jobs[place]}/llm-call-stream", {})

    async def stream_directly(self) -> None:
        """The provider's own stream, for comparison; `url` is the provider's."""
        self.calls += 1
        asked = {"model": "fake-ok", "stream": True, "stream_options": {"include_usage": True}}
        await self._read(f"{self.url}/v1/chat/completions", asked)

    async def _read(self, url: str, more: dict[str, Any]) -> None:
        question = f"Question {self.calls} of client {self.number}: what is Python used for?"
        messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": question}]
        started, first_s, last = time.perf_counter(), None, b""
        body = orjson.dumps({"messages": messages, **more})
        async with self.http.post(url, data=body, headers=self.headers) as response:
            if response.status != 200:
                raise WrongAnswer(f"{url.rpartition('/')[2]}: {response.status} {(await response.read())[:200]!r}")
            async for line in response.content:
                if not line.startswith(b"data: "):
                    continue
                last = line[6:].strip()
                if last == b"[DONE]":
                    continue
                event = orjson.loads(last)
                if "error" in event:
                    raise WrongAnswer(f"stream: {event['error']}")
                self.chunks += 1
                if first_s is None and any(choice["delta"].get("content") for choice in event["choices"]):
                    first_s = time.perf_counter() - started
        if first_s is None or last != b"[DONE]":
            raise WrongAnswer("stream: no text, or no end")
        self.firsts_s.append(first_s)

    async def workflow(self) -> None:
        """A job with one call, from create to its charge."""
        job_id = await self.open_job()
        await self.call(job_id)
        costs = await self.complete(job_id)
        if not costs["credit_applied"] or costs["total_calls"] != 1:
            raise WrongAnswer(f"complete: not charged for one call: {costs}")

    async def attempt(self, work: Callable[[], Awaitable[None]]) -> None:
        started = time.perf_counter()
        try:
            await work()
        except (aiohttp.ClientError, TimeoutError, WrongAnswer, KeyError, TypeError, ValueError) as problem:
            self.errors.append(f"{type(problem).__name__}: {problem}")
        else:
            self.latencies_s.append(time.perf_counter() - started)


WORKLOADS: dict[str, Callable[[Client], Callable[[], Awaitable[None]]]] = {
    "llm-call": lambda client: client.llm_call,
    "workflow": lambda client: client.workflow,
    "stream": lambda client: client.stream,
}
# Not of the product: what others are compared with.
_DIRECT: dict[str, Callable[[Client], Callable[[], Awaitable[None]]]] = {
    "stream-directly": lambda client: client.stream_directly,
}


class Generator:
    """Does what each command says; clients live from `prepare` to `finish`."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._clients: list[Client] = []

    async def prepare(
        self, *, url: str, clients: int, teams: list[tuple[str, str]], workload: str, calls: int
    ) -> dict[str, Any]:
        """Make clients, with open jobs for that many calls of them all where the workload wants some."""
        self._clients = []
        for number in range(clients):
            team_id, secret = teams[number % len(teams)]
            headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
            self._clients.append(Client(self._http, url, team_id, headers, number))
        if workload in ("llm-call", "stream"):
            jobs = math.ceil(calls / CALLS_PER_JOB / clients)
            await asyncio.gather(*(self._open(client, jobs) for client in self._clients))
        return {}

    async def run(self, *, workload: str, seconds: float) -> dict[str, Any]:
        """Call until time is over; whatever has begun is finished and counted."""
        for client in self._clients:
            client.latencies_s, client.errors = [], []
            client.firsts_s, client.chunks = [], 0
        started = time.perf_counter()
        await asyncio.gather(*(self._loop(client, workload, started + seconds) for client in self._clients))
        elapsed_s = time.perf_counter() - started
        latencies_s = sorted(latency for client in self._clients for latency in client.latencies_s)
        firsts_s = sorted(first for client in self._clients for first in client.firsts_s)
        errors = [error for client in self._clients for error in client.errors]
        return {
            "calls": len(latencies_s),
            "seconds": elapsed_s,
            "p50_ms": percentile(latencies_s, 50) * 1000,
            "p99_ms": percentile(latencies_s, 99) * 1000,
            "first_p50_ms": percentile(firsts_s, 50) * 1000,
            "chunks": sum(client.chunks for client in self._clients),
            "errors": len(errors),
            "error_samples": sorted(set(errors))[:3],
        }

    async def finish(self) -> dict[str, Any]:
        """Complete the jobs that are open, so that the next run meets no holds."""
        await asyncio.gather(*(self._close(client) for client in self._clients))
        return {}

    async def _open(self, client: Client, jobs: int) -> None:
        for _ in range(jobs):
            client.jobs.append(await client.open_job())

    async def _close(self, client: Client) -> None:
        while client.jobs:
            await client.complete(client.jobs.pop())

    async def _loop(self, client: Client, workload: str, ends_at: float) -> None:
        work = {**WORKLOADS, **_DIRECT}[workload](client)
        while time.perf_counter() < ends_at and len(client.errors) < _ERRORS_MAX:
            await client.attempt(work)


def percentile(ordered: list[float], percent: float) -> float:
    """By nearest rank; 0 of nothing."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


async def serve() -> None:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
    ) as http:
        generator = Generator(http)
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        # In a thread, so that the loop notices meanwhile when a server closes an idle connection.
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            done = await getattr(generator, command.pop("do"))(**command)
            print(json.dumps(done), flush=True)


if __name__ == "__main__":
    asyncio.run(serve())
