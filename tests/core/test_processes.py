"""What a process has one of."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from apps.core import processes
from apps.core.processes import of_this_process, run_in_background


@pytest.fixture(autouse=True)
def _nothing_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_made", {})


def test_threads_that_ask_at_the_same_time_are_given_one():
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: of_this_process("a", make), range(100)))

    assert len(made) == 1
    assert set(map(id, found)) == {id(made[0])}


def test_forked_child_makes_its_own(monkeypatch: pytest.MonkeyPatch):
    ours = of_this_process("a", object)
    pid = os.getpid()
    monkeypatch.setattr(processes.os, "getpid", lambda: pid + 1)

    assert of_this_process("a", object) is not ours


def test_background_runs_once():
    runs: list[str] = []
    has_run, may_end = threading.Event(), threading.Event()

    def target() -> None:
        runs.append(threading.current_thread().name)
        has_run.set()
        may_end.wait(10)

    for _ in range(3):
        run_in_background("work", target)

    assert has_run.wait(10)
    may_end.set()
    assert runs == ["work"]
