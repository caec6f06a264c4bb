"""Where PostgreSQL and Redis for tests are, and a database of one's own in each.

Invariant: nothing is written outside of what is made here: a PostgreSQL database with a random name, and a Redis
database of 10 to 15 under a lock. The Redis database of TEST_REDIS_URL holds only those locks and is never flushed.
"""

# ruff: noqa: T201 - it is a program too, and talks to its caller by printing.

import asyncio
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import psycopg
import redis
from psycopg import sql
from redis.backoff import NoBackoff
from redis.exceptions import LockError
from redis.lock import Lock
from redis.retry import Retry

_DEFAULT_POSTGRES_URL = "postgres://postgres@127.0.0.1:5432/postgres"
_DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/9"
_REACH_TIMEOUT_S = 1.0
_REDIS_DATABASES = range(10, 16)
_REDIS_LOCK_TTL_S = 60.0
_REDIS_WAIT_S = 60.0
_POLL_S = 0.1


def postgres_url() -> str:
    """A database in which others may be created."""
    return os.environ.get("TEST_POSTGRES_URL") or _DEFAULT_POSTGRES_URL


def redis_url() -> str:
    return os.environ.get("TEST_REDIS_URL") or _DEFAULT_REDIS_URL


def postgres_problem() -> str | None:
    """Why PostgreSQL cannot be used, or None when it answers within a second."""
    try:
        asyncio.run(asyncio.wait_for(_ask_postgres(), _REACH_TIMEOUT_S))
    except TimeoutError:
        return f"no answer in {_REACH_TIMEOUT_S:g} s"
    except psycopg.Error as problem:
        return _one_line(problem)
    return None


def redis_problem() -> str | None:
    """Why Redis cannot be used, or None when it answers within a second."""
    try:
        with _redis(redis_url()) as client:
            client.ping()
    except redis.RedisError as problem:
        return _one_line(problem)
    return None


def reachable() -> bool:
    """Whether both services answer, each within a second."""
    return postgres_problem() is None and redis_problem() is None


@contextmanager
def temporary_database(name_prefix: str) -> Iterator[str]:
    """The URL of a new, empty PostgreSQL database, dropped at the end whoever is still connected to it."""
    name = f"{name_prefix}_{secrets.token_hex(4)}"
    identifier = sql.Identifier(name)
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
    try:
        yield urlsplit(postgres_url())._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(postgres_url(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))


@contextmanager
def free_redis_db() -> Iterator[str]:
    """The URL of a Redis database that nobody else uses meanwhile, empty at the start and left empty.

    Raises: RuntimeError when all are taken for a minute.
    """
    with _redis(redis_url()) as locks:
        number, lock = _lock_database(locks)
        is_over = threading.Event()
        renewal = threading.Thread(target=_renew, args=(lock, is_over), name=f"redis-db-{number}", daemon=True)
        renewal.start()
        url = urlsplit(redis_url())._replace(path=f"/{number}").geturl()
        try:
            _flush(url)
            yield url
        finally:
            is_over.set()
            renewal.join()
            _flush(url)
            # Not ours any more if Redis was restarted or emptied by the very test that used the database.
            with suppress(LockError):
                lock.release()


def _flush(url: str) -> None:
    with _redis(url) as client:
        client.flushdb()


def _lock_database(locks: "redis.Redis") -> tuple[int, Lock]:
    deadline = time.monotonic() + _REDIS_WAIT_S
    lock_database = str(locks.connection_pool.connection_kwargs.get("db", 0))
    numbers = [number for number in _REDIS_DATABASES if str(number) != lock_database]
    while time.monotonic() < deadline:
        for number in numbers:
            # Not thread-local: the renewal runs in a thread of its own.
            lock = locks.lock(f"test-harness:redis-db:{number}", timeout=_REDIS_LOCK_TTL_S, thread_local=False)
            if lock.acquire(blocking=False):
                return number, lock
        time.sleep(_POLL_S)
    raise RuntimeError(f"Redis databases {numbers} are all in use by other test runs")


def _renew(lock: Lock, is_over: threading.Event) -> None:
    """Keep the lock while its user lives; a killed user's lock expires."""
    while not is_over.wait(_REDIS_LOCK_TTL_S / 3):
        # A Redis that is down or hung, as a test may want it, is asked again next time.
        with suppress(redis.RedisError):
            if lock.owned():
                lock.reacquire()
            else:
                lock.acquire(blocking=False)


def _redis(url: str) -> "redis.Redis":
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=_REACH_TIMEOUT_S,
        socket_timeout=_REACH_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


async def _ask_postgres() -> None:
    # The synchronous driver waits for two seconds at least.
    async with await psycopg.AsyncConnection.connect(postgres_url()) as connection:
        await connection.execute("SELECT 1")


def _one_line(problem: Exception) -> str:
    return " ".join(str(problem).split())


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def main() -> int:
    """Print what is reachable. 0: both, 1: not both, 2: not both where they must be (CI)."""
    found = {
        f"PostgreSQL at {_without_password(postgres_url())}": postgres_problem(),
        f"Redis at {_without_password(redis_url())}": redis_problem(),
    }
    for service, problem in found.items():
        print(f"{service}: {problem or 'reachable'}")
    missing = [service for service, problem in found.items() if problem]
    if not missing:
        return 0
    if os.environ.get("CI"):
        print(f"CI needs both services: {' and '.join(missing)} cannot be reached.", file=sys.stderr)
        return 2
    return 1


if __name__ == "__main__":
    sys.exit(main())
