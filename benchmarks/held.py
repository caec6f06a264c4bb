"""`python -m benchmarks.held`: the memory of one web process that holds many streams open at once.

The provider pauses each stream after its third event until all of them are open; then the rest comes, and each has
to be whole. 0: all were; 1: some were not; 2: it could not be run.
"""

import argparse
import asyncio
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson

from benchmarks.load import percentile
from benchmarks.stack import Plan, Stack, running_stack
from tests.harness import cpu, processes, services
from tests.harness.processes import NotReady, Process

_MODEL = "fake-hold-3"
_OPEN_WITHIN_S = 180.0
_END_WITHIN_S = 120.0
# Past the burst, and past the first look that each stream takes at its call.
_SETTLE_S = 6.0


@dataclass(slots=True)
class Held:
    """What was seen. Memory in MB, resident: as it is before the first stream, while all are held, and afterwards."""

    streams: int
    whole: int = 0
    idle_mb: float = 0.0
    held_mb: float = 0.0
    after_mb: float = 0.0
    firsts_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        firsts_s = sorted(self.firsts_s)
        return (
            f"{self.whole} of {self.streams} streams whole; web process {self.idle_mb:.0f} MB idle,"
            f" {self.held_mb:.0f} MB with all held ({(self.held_mb - self.idle_mb) * 1024 / self.streams:.0f} kB a"
            f" stream), {self.after_mb:.0f} MB afterwards; first text at p50 {percentile(firsts_s, 50):.1f} s, at p99"
            f" {percentile(firsts_s, 99):.1f} s, all opened at once"
        )


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    if not services.reachable():
        services.main()
        return 2
    try:
        held = measure(options.streams, prompt_bytes=options.prompt_bytes, settings=dict(options.set))
    except NotReady as problem:
        print(problem, file=sys.stderr)
        return 2
    print(held)
    for error in sorted(set(held.errors))[:3]:
        print(error, file=sys.stderr)
    return 0 if held.whole == held.streams else 1


def measure(streams: int, *, prompt_bytes: int = 0, settings: dict[str, str] | None = None) -> Held:
    """Hold that many streams.  Raises: NotReady."""
    plan = Plan(
        # Those that may wait are 80 % of them.
        web_threads=streams * 5 // 4 + 8,
        worker_threads=streams,
        teams=min(20, streams),
        model=_MODEL,
        settings={"WORKER_CALLS_MAX": str(streams), **(settings or {})},
    )
    with ExitStack() as cleanup:
        provider = processes.start_fake_provider()
        cleanup.callback(provider.kill)
        stack = cleanup.enter_context(running_stack(plan, provider_url=provider.url))
        return asyncio.run(_hold(stack, provider, streams, "x" * prompt_bytes))


async def _hold(stack: Stack, provider: Process, streams: int, padding: str) -> Held:
    held = Held(streams, idle_mb=_resident_mb(stack.web))
    opened = [asyncio.Event() for _ in range(streams)]
    timeout = aiohttp.ClientTimeout(total=_OPEN_WITHIN_S + _SETTLE_S + _END_WITHIN_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
        readers = [
            asyncio.create_task(_attempt(http, stack, held, number, padding, is_open))
            for number, is_open in enumerate(opened)
        ]
        async with asyncio.timeout(_OPEN_WITHIN_S):
            for is_open in opened:
                await is_open.wait()
        await asyncio.sleep(_SETTLE_S)
        held.held_mb = _resident_mb(stack.web)
        ends_at = time.monotonic() + _END_WITHIN_S
        while not all(reader.done() for reader in readers) and time.monotonic() < ends_at:
            await asyncio.to_thread(_release, provider)
            await asyncio.sleep(0.2)
        for reader in readers:
            reader.cancel()
        held.after_mb = _resident_mb(stack.web)
    return held


async def _attempt(
    http: aiohttp.ClientSession, stack: Stack, held: Held, number: int, padding: str, is_open: asyncio.Event
) -> None:
    try:
        await _read(http, stack, held, number, padding, is_open)
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as problem:
        held.errors.append(f"{type(problem).__name__}: {problem}")
    finally:
        is_open.set()


async def _read(
    http: aiohttp.ClientSession, stack: Stack, held: Held, number: int, padding: str, is_open: asyncio.Event
) -> None:
    team_id, secret = stack.teams[number % len(stack.teams)]
    question = f"{padding} What is {number} used for?"
    body = {"team_id": team_id, "job_type": "bench", "messages": [{"role": "user", "content": question}]}
    text, finish, started = "", None, time.perf_counter()
    async with http.post(
        f"{stack.web.url}/api/jobs/create-and-call-stream", json=body, headers={"Authorization": f"Bearer {secret}"}
    ) as response:
        if response.status != 200:
            raise ValueError(f"{response.status} {(await response.read())[:200]!r}")
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            event = orjson.loads(line[6:])
            if "error" in event:
                raise ValueError(str(event["error"]))
            for choice in event["choices"]:
                if not text and choice["delta"].get("content"):
                    held.firsts_s.append(time.perf_counter() - started)
                    is_open.set()
                text += choice["delta"].get("content") or ""
                finish = choice["finish_reason"]
    if (text, finish) != (f"Answer 1 to: {question[-200:]}", "stop"):
        raise ValueError(f"not whole: {text!r}, {finish}")
    held.whole += 1


def _release(provider: Process) -> None:
    urllib.request.urlopen(urllib.request.Request(f"{provider.url}/release", method="POST"), timeout=20).close()


def _resident_mb(web: Process) -> float:
    """Of the process that serves: the largest of the server's group."""
    return max(_resident_kb(pid) for pid in cpu.group_pids(web.pid)) / 1024


def _resident_kb(pid: int) -> int:
    status = Path("/proc", str(pid), "status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.held", description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--prompt-bytes", type=int, default=0, help="size of each prompt")
    parser.add_argument("--set", action="append", default=[], type=_setting, metavar="NAME=VALUE")
    return parser


def _setting(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
