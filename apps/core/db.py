"""The database connection: releasing it before a wait, and what differs between PostgreSQL and SQLite."""

from django.db import connection


def is_postgresql() -> bool:
    return connection.vendor == "postgresql"


def release_connection() -> None:
    """Give this thread's connection back before a wait on the network.

    On PostgreSQL it returns to the pool, so that many waiting threads share few connections. Inside an atomic
    block it does nothing: closing there would lose the transaction.
    """
    if not connection.in_atomic_block:
        connection.close()
