"""Several queries that see one instant, so that their figures add up while jobs go on."""

from contextlib import AbstractContextManager, nullcontext

from django.db import connection

from apps.core import verification


def one_instant() -> AbstractContextManager[None]:
    """A read-only snapshot for the queries of the block; the caller's transaction where there is one."""
    return nullcontext() if connection.in_atomic_block else verification.snapshot()
