"""Callers of the API, and the worker's side run in the test's own thread."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from apps.jobs import dispatch, execution, leases, replies
from apps.jobs.streaming import marks
from tests import make
from tests.api.calling import Caller


@pytest.fixture
def operator(db: None, operator_headers: dict[str, str]) -> Caller:
    return Caller(operator_headers)


@pytest.fixture
def nobody(db: None) -> Caller:
    return Caller()


@pytest.fixture
def team_key(acme: make.Customer) -> Caller:
    """Acme's own virtual key."""
    return Caller(acme.headers)


@pytest.fixture
def stranger(globex: make.Customer) -> Caller:
    """The virtual key of another organization's team."""
    return Caller(globex.headers)


@pytest.fixture
def no_worker(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are admitted and published to nobody.

    The threads of mailbox and leases stay away: their connections would not see this test's transaction, and
    SQLite would make them wait for it.
    """
    settings.EMBEDDED = True
    monkeypatch.setattr(dispatch, "publish", lambda call_ids: 0)
    monkeypatch.setattr(replies.Mailbox, "_start", lambda self: None)
    monkeypatch.setattr(leases, "_ensure_renewer", lambda: None)
    monkeypatch.setattr(marks, "_ensure_saver", lambda: None)


@pytest.fixture
def worker(no_worker: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A published call is made at once, in this thread, by the function that every worker runs.

    What HTTP makes of a call is tested here, so the way to a worker and back is left out. Real worker processes,
    brokers and lost messages have tests of their own.
    """

    def publish(call_ids: list[Any]) -> int:
        for call_id in call_ids:
            execution.run_call(str(call_id))
            replies.mailbox().notify(str(call_id))
        return len(call_ids)

    monkeypatch.setattr(dispatch, "publish", publish)


@pytest.fixture
def in_thread() -> Any:
    """Runs a function in another thread, on a connection of its own, and returns what it returns."""

    def run(function: Any) -> Any:
        def closing() -> Any:
            try:
                return function()
            finally:
                connection.close()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(closing).result(timeout=20)

    return run
