"""Two ways to make operations meet: all at once, and one that waits for another's lock. PostgreSQL only.

Each runs in a thread with a connection of its own, which it closes.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from django.db import connection, transaction

from apps.core.errors import DomainError

Operation = Callable[[], Any]
_DEADLINE_S = 20


def at_once(operations: Sequence[Operation]) -> list[Any]:
    """Run all at the same time. Their results in order; a refusal (DomainError) is a result, any other error not."""
    barrier = threading.Barrier(len(operations))

    def run(operation: Operation) -> Any:
        barrier.wait(_DEADLINE_S)
        return outcome(operation)

    with ThreadPoolExecutor(len(operations)) as threads:
        return [future.result(_DEADLINE_S) for future in [threads.submit(run, each) for each in operations]]


def in_turn(first: Operation, second: Operation, *, then: Operation | None = None) -> tuple[Any, Any]:
    """Run `second` while `first` has done its work but not committed, so that it waits for it at a lock.

    What `second` read before that lock is stale when it goes on. `then` is done by the first meanwhile, in the
    same transaction; its result replaces the first's.
    """
    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            before = first()
            waiting: Future[Any] = thread.submit(outcome, second)
            _wait_for_us(waiting)
            if then is not None:
                before = then()
        return before, waiting.result(_DEADLINE_S)


def outcome(operation: Operation) -> Any:
    """The operation's result, or its refusal."""
    try:
        return operation()
    except DomainError as error:
        return error
    finally:
        connection.close()


def _wait_for_us(waiting: Future[Any]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not _is_in_the_way():
        assert not waiting.done(), f"it did not wait: {waiting.result()}"
        assert time.monotonic() < deadline, "it neither waits for a lock nor ends"
        time.sleep(0.002)


def _is_in_the_way() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        return bool(cursor.fetchone()[0])
