"""Threads that go round for ever: the database may be away for a while, they go on afterwards."""

import logging
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError

from apps.jobs import leases, sweeper


class Ended(Exception):
    """Ends an endless loop."""


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None], int], None]:
    """Lets a loop go round so often."""

    def run(loop: Callable[[], None], times: int) -> None:
        left = times

        class Pause(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                nonlocal left
                if left == 0:
                    raise Ended
                left -= 1
                return False

        for module in (sweeper, leases):
            monkeypatch.setattr(module, "threading", SimpleNamespace(Event=Pause))
        with pytest.raises(Ended):
            loop()

    return run


class Failing:
    """Fails at first, and counts."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.times = 0

    def __call__(self) -> Any:
        self.times += 1
        if self.errors:
            raise self.errors.pop(0)


@pytest.mark.parametrize("error", [OperationalError("away"), InterfaceError("connection already closed")])
def test_sweeper_goes_on(
    rounds: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
):
    sweep = Failing(error)
    monkeypatch.setattr(sweeper, "run", sweep)

    with caplog.at_level(logging.WARNING, logger="saasllm"):
        rounds(sweeper.run_forever, 2)

    assert sweep.times == 3
    assert caplog.messages == [f"sweep failed: {type(error).__name__}"]


def test_defect_of_one_sweep_is_told_and_the_next_is_made(
    rounds: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    sweep = Failing(ZeroDivisionError())
    monkeypatch.setattr(sweeper, "run", sweep)

    with caplog.at_level(logging.WARNING, logger="saasllm"):
        rounds(sweeper.run_forever, 2)

    assert sweep.times == 3
    assert caplog.records[0].exc_info is not None


@pytest.mark.parametrize("error", [OperationalError("away"), InterfaceError("connection already closed")])
def test_leases_are_renewed_again(rounds: Any, monkeypatch: pytest.MonkeyPatch, error: Exception):
    renew = Failing(error)
    monkeypatch.setattr(leases, "renew", renew)

    rounds(leases._renew_forever, 3)

    assert renew.times == 3


def test_worker_s_name_changes_with_its_process(monkeypatch: pytest.MonkeyPatch):
    parent = leases.worker_name()
    assert leases.worker_name() == parent

    with monkeypatch.context() as patched:
        patched.setattr(leases.os, "getpid", lambda: 4_194_305)
        assert leases.worker_name() != parent
