"""The database connection: releasing it before a wait, and what differs between PostgreSQL and SQLite."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, connection, transaction

_RETRY_PAUSE_S = 0.05
T = TypeVar("T")


def is_postgresql() -> bool:
    return connection.vendor == "postgresql"


def release_connection() -> None:
    """Give this thread's connection back before a wait on the network.

    On PostgreSQL it returns to the pool, so that many waiting threads share few connections. Inside an atomic
    block it does nothing: closing there would lose the transaction.
    """
    if not connection.in_atomic_block:
        connection.close()


def joined() -> AbstractContextManager[object]:
    """A transaction, or the caller's when there is one.

    Without the savepoint that a nested `atomic` would set, which costs two round trips. So what raises inside must
    have written nothing yet, or have the database refuse, which ends the caller's transaction too.
    """
    return nullcontext() if connection.in_atomic_block else transaction.atomic()


def patiently(statement: Callable[[], T], *, until: float) -> T:
    """Run `statement`, and again while the database is away, until that instant of the monotonic clock.

    For what may be repeated, outside of transactions. After a restart of the server each pooled connection fails
    once.  Raises: the last error.
    """
    pause = threading.Event()
    while True:
        try:
            return statement()
        except (DatabaseError, InterfaceError):
            release_connection()
            if time.monotonic() > until:
                raise
        pause.wait(_RETRY_PAUSE_S)
