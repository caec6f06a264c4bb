"""What the fake provider was asked and what it billed: one JSON line at the start of an execution, one at its end.

Invariant: the start line is on disk before the execution does anything, each line by one write, so that a
SIGKILL of either side loses no execution that could have cost money. This is the second witness in chaos runs.
"""

import json
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Execution:
    """One request to the provider. `outcome` is None while it runs, and for ever if the provider was killed."""

    id: str
    call_id: str | None
    attempt_id: str | None
    model: str
    started_at: float
    outcome: str | None = None
    # Whether a correct client may end the call as failed because of this outcome.
    may_fail: bool = False
    # Whether the client was still connected when the answer was sent.
    is_delivered: bool = False
    # Of a stream: the chunks sent, what they said, and whether the client left before the last.
    chunks_sent: int = 0
    characters_sent: int = 0
    is_client_gone: bool = False
    billed_prompt_tokens: int = 0
    billed_completion_tokens: int = 0
    billed_nanousd: int = 0
    ended_at: float | None = None


class Journal:
    """Records executions in a file, in memory, or both.

    Memory is for a provider that runs in a thread of a test: a long run would grow without bound.
    """

    def __init__(self, *, path: Path | None, is_kept: bool) -> None:
        self._fd = (
            None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        )
        self._is_kept = is_kept
        self._kept: list[Execution] = []
        self._changed = threading.Condition()
        self._count = 0

    def start(self, *, call_id: str | None, attempt_id: str | None, model: str) -> Execution:
        self._count += 1
        execution = Execution(
            id=f"{os.getpid()}-{self._count}",
            call_id=call_id,
            attempt_id=attempt_id,
            model=model,
            started_at=time.time(),
        )
        self._write(
            {
                "event": "start",
                "id": execution.id,
                "call_id": call_id,
                "attempt_id": attempt_id,
                "model": model,
                "started_at": execution.started_at,
            }
        )
        if self._is_kept:
            with self._changed:
                self._kept.append(execution)
                self._changed.notify_all()
        return execution

    def end(self, execution: Execution) -> None:
        """Record the end of `execution`, whose outcome and bill are set."""
        execution.ended_at = time.time()
        self._write(
            {
                "event": "end",
                "id": execution.id,
                "outcome": execution.outcome,
                "may_fail": execution.may_fail,
                "is_delivered": execution.is_delivered,
                "chunks_sent": execution.chunks_sent,
                "characters_sent": execution.characters_sent,
                "is_client_gone": execution.is_client_gone,
                "billed_prompt_tokens": execution.billed_prompt_tokens,
                "billed_completion_tokens": execution.billed_completion_tokens,
                "billed_nanousd": execution.billed_nanousd,
                "ended_at": execution.ended_at,
            }
        )
        if self._is_kept:
            with self._changed:
                self._changed.notify_all()

    def executions(self) -> list[Execution]:
        with self._changed:
            return list(self._kept)

    def wait_for(self, *, started: int = 0, ended: int = 0, timeout_s: float) -> list[Execution]:
        """Wait until that many executions have started and ended.  Raises: TimeoutError."""

        def is_reached() -> bool:
            return len(self._kept) >= started and sum(e.outcome is not None for e in self._kept) >= ended

        with self._changed:
            if not self._changed.wait_for(is_reached, timeout_s):
                raise TimeoutError(f"{len(self._kept)} executions after {timeout_s} s: {self._kept}")
            return list(self._kept)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _write(self, line: dict[str, Any]) -> None:
        if self._fd is not None:
            os.write(self._fd, json.dumps(line).encode() + b"\n")


def read_journal(path: Path) -> list[Execution]:
    """The executions of a journal file, oldest first; a last line cut by a SIGKILL of the provider is skipped."""
    return _replay(line for line in path.read_bytes().split(b"\n")[:-1])


def _replay(lines: Iterable[bytes]) -> list[Execution]:
    executions: dict[str, Execution] = {}
    for line in lines:
        record = json.loads(line)
        event = record.pop("event")
        if event == "start":
            executions[record["id"]] = Execution(**record)
            continue
        execution = executions[record.pop("id")]
        for name, value in record.items():
            setattr(execution, name, value)
    return list(executions.values())
