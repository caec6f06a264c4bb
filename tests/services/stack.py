"""The product's real processes on a PostgreSQL and a Redis database of their own, and a look at their rows.

Tests and `make chaos` share it. The processes reach Redis through a TCP proxy, so that it can hang, and recover
quickly: leases, republishing and sweeps take a second or three.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis

from tests.harness import processes, services
from tests.harness.processes import Process

MASTER_KEY = "sk-master-key-of-the-service-tests"
REDIS_PREFIX = "saasllm"
# Where Celery's messages wait, as Redis has them.
QUEUE = f"{REDIS_PREFIX}:{REDIS_PREFIX}.calls"
LEASE_S = 3.0
QUICK = {
    "CALL_LEASE_S": str(LEASE_S),
    "REPUBLISH_AFTER_S": "1",
    "SWEEP_EVERY_S": "1",
    # Several processes share one server's hundred connections.
    "DB_POOL_MAX": "8",
    "MASTER_KEY": MASTER_KEY,
    "REDIS_PREFIX": REDIS_PREFIX,
    "LITELLM_MASTER_KEY": "sk-not-a-real-key",
}


@dataclass(frozen=True, slots=True)
class Team:
    """A team to make. Credits are whole; a metered one pays by the provider's cost."""

    team_id: str
    credits: int
    is_metered: bool = False
    # Wants no more of a stream whose client left.
    cancels_left_streams: bool = False


@dataclass
class Stack:
    """What runs. Processes that were started here are killed at the end."""

    env: dict[str, str]
    database_url: str
    redis_url: str
    redis_proxy: Process
    keys: dict[str, str]
    running: list[Process] = field(default_factory=list)

    def start_web(self, *, port: int = 0, threads: int = 64, server: str = "granian", **env: str) -> Process:
        start = {"granian": processes.start_web, "gunicorn": processes.start_web_gunicorn}[server]
        return self._started(start({**self.env, **env}, port=port, threads=threads))

    def start_worker(self, *, concurrency: int = 16, **env: str) -> Process:
        return self._started(processes.start_worker({**self.env, **env}, concurrency=concurrency))

    def start_beat(self) -> Process:
        return self._started(processes.start_beat(self.env))

    def kill(self, process: Process) -> None:
        """SIGKILL, the whole group."""
        process.kill()
        self.running.remove(process)

    def _started(self, process: Process) -> Process:
        self.running.append(process)
        return process

    def redis_mode(self, mode: str) -> None:
        """What the line to Redis does from now on: `pass`, `hang`, `refuse` …"""
        processes.set_proxy_mode(self.redis_proxy, mode)

    def redis(self) -> "redis.Redis":
        """Redis itself, past the proxy."""
        return redis.Redis.from_url(self.redis_url)

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a query, by a connection of its own: those of the processes may be cut."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute(query, parameters or None).fetchall()

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(statement)

    def value(self, query: str, *parameters: object) -> Any:
        """The only column of the only row of a query."""
        ((found,),) = self.rows(query, *parameters)
        return found

    def cut_postgres(self) -> int:
        """Cut every connection of the processes to PostgreSQL. Returns how many there were."""
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        return len(self.rows(f"{cut} AND pid <> pg_backend_pid()"))


def wait_until(is_reached: Callable[[], object], *, timeout_s: float = 20.0, what: str = "it to happen") -> None:
    """Wait for what another process does.  Raises: TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not is_reached():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}")
        time.sleep(0.05)


@contextmanager
def prepared(
    name: str,
    *,
    provider_url: str,
    teams: Sequence[Team],
    models: Sequence[str] = (),
    **env: str,
) -> Iterator[Stack]:
    """A migrated database with these teams, Redis behind its proxy, and no product process yet.

    `name` begins the database's name; `models` are open to all, each answered by the provider's model of that name.
    """
    with services.temporary_database(name) as database_url, services.free_redis_db() as redis_url:
        parts = urlsplit(redis_url)
        proxy = processes.start_tcp_proxy(target=f"{parts.hostname}:{parts.port}")
        through_proxy = parts._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()
        full_env = {
            **QUICK,
            "DATABASE_URL": database_url,
            "REDIS_URL": through_proxy,
            "LITELLM_BASE_URL": provider_url,
            **env,
        }
        stack = Stack(
            env=full_env,
            database_url=database_url,
            redis_url=redis_url,
            redis_proxy=proxy,
            keys=_prepare(full_env, teams=teams, models=models),
        )
        try:
            yield stack
        finally:
            for process in [*stack.running, proxy]:
                process.kill()


def _prepare(env: dict[str, str], *, teams: Sequence[Team], models: Sequence[str]) -> dict[str, str]:
    plan = {
        "models": list(models),
        "teams": [asdict(team) for team in teams],
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.services.prepare", json.dumps(plan)],
        cwd=processes.ROOT,
        env=processes.environment({**env, "DJANGO_SETTINGS_MODULE": "saasllm.settings"}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the database was not prepared:\n{done.stdout}{done.stderr}")
    keys: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return keys
