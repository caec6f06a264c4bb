"""One window of one workload against a running stack: prepare, warm up, measure, clean up."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.report import Row, row
from benchmarks.sampler import Sampler
from benchmarks.stack import Stack
from benchmarks.usage import spent, yardstick_ms
from tests.harness import processes
from tests.harness.processes import Process

# More than a window is likely to see, so that no job is opened inside one.
_MOST_CALLS_PER_S = 600
_POLL_S = 0.01
# The provider is quick, and there is nothing to warm up.
_DIRECT_S = 2.0
_GRACE_S = 120.0


class LoadFailed(Exception):
    """Raised when the load generator ended, or did not answer; the text has the end of its log."""


class Load:
    """The load generator, one command at a time."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def ask(self, do: str, *, patience_s: float = _GRACE_S, **arguments: Any) -> dict[str, Any]:
        answered = len(self._lines())
        self.process.send_line(json.dumps({"do": do, **arguments}))
        deadline = time.monotonic() + patience_s
        while self.process.is_running() and time.monotonic() < deadline:
            answers = self._lines()[answered:]
            # Anything else is a traceback, and its end is near.
            if answers and answers[0].startswith("{"):
                answer: dict[str, Any] = json.loads(answers[0])
                return answer
            time.sleep(_POLL_S)
        raise LoadFailed(f"the load generator failed to {do}:\n{self.process.log_tail()}")

    def _lines(self) -> list[str]:
        """What it has printed, whole lines alone."""
        return self.process.log().split("\n")[:-1]


@contextmanager
def running_load() -> Iterator[Load]:
    process = processes.start(
        "load",
        [sys.executable, "-m", "benchmarks.load"],
        {},
        is_ready=lambda process: process.log() == "ready\n",
        has_stdin=True,
    )
    try:
        yield Load(process)
    finally:
        process.kill()


@dataclass(frozen=True, slots=True)
class Window:
    """What is measured, and for how long."""

    workload: str
    clients: int
    seconds: float
    warmup_s: float


def measure(stack: Stack, load: Load, provider: Process, window: Window, *, sampler: Sampler | None = None) -> Row:
    """A row; CPU is counted from the window's start to the end of its last call.  Raises: LoadFailed."""
    try:
        return _measure(stack, load, provider, window, sampler=sampler)
    except (LoadFailed, ProcessLookupError) as problem:
        raise LoadFailed(f"{problem}\n{stack.log_tails()}") from problem


def _measure(stack: Stack, load: Load, provider: Process, window: Window, *, sampler: Sampler | None) -> Row:
    apart: Mapping[str, Process] = {"load": load.process, "provider": provider}
    load.ask(
        "prepare",
        url=stack.web.url,
        clients=window.clients,
        teams=stack.teams,
        workload=window.workload,
        calls=int((window.seconds + window.warmup_s) * _MOST_CALLS_PER_S),
    )
    if window.warmup_s:
        load.ask("run", workload=window.workload, seconds=window.warmup_s)
    with sampler.sampling(stack, window.seconds) if sampler else contextlib.nullcontext():
        before = stack.usage(apart)
        result = load.ask(
            "run", workload=window.workload, seconds=window.seconds, patience_s=window.seconds + _GRACE_S
        )
        after = stack.usage(apart)
    if not result["errors"]:
        load.ask("finish")
    direct: dict[str, Any] = {}
    if window.workload == "stream":
        direct = _asked_directly(load, provider, window)
    return row(
        workload=window.workload,
        clients=window.clients,
        result=result,
        direct=direct,
        spent=spent(before, after),
        # After the window, so that it meets the same neighbours.
        yardstick_ms=yardstick_ms(),
    )


def _asked_directly(load: Load, provider: Process, window: Window) -> dict[str, Any]:
    """What the same clients get from the provider itself."""
    load.ask(
        "prepare", url=provider.url, clients=window.clients, teams=[("", "")], workload="stream-directly", calls=0
    )
    return load.ask("run", workload="stream-directly", seconds=min(window.seconds, _DIRECT_S))
