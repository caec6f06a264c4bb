"""The running system that is measured: a database of its own, web, one worker and beat, as in production.

Invariant: nothing of it is left at the end, and a second stack beside it (of another tree) shares no data.
"""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from benchmarks.usage import Postgres, Snapshot, snapshot
from tests.harness import processes, services
from tests.harness.processes import NotReady, Process

ROOT = processes.ROOT
_SEED = Path(__file__).resolve().parent / "seed.py"
_CREDITS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the system is set up."""

    server: str = "granian"
    # Waiting callers may take 80 % of the threads (WAITING_SHARE), so that 64 clients need 80.
    web_threads: int = 80
    worker_threads: int = 32
    teams: int = 64
    # The fake provider's, by the name of which it behaves.
    model: str = "fake-ok"
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stack:
    """A running system and who may call it."""

    web: Process
    worker: Process
    beat: Process
    teams: list[tuple[str, str]]
    _postgres: Postgres
    _redis: "redis.Redis"

    def usage(self, apart: Mapping[str, Process]) -> Snapshot:
        """CPU so far, with that of `apart`: what calls the system and what it calls."""
        ours = {"web": self.web, "worker": self.worker, "beat": self.beat}
        return snapshot({**ours, **apart}, self._postgres, self._redis)

    def log_tails(self) -> str:
        return "\n".join(
            f"--- {process.name}\n{process.log_tail()}" for process in (self.web, self.worker, self.beat)
        )


@contextmanager
def running_stack(plan: Plan, *, provider_url: str, root: Path = ROOT) -> Iterator[Stack]:
    """Start the system of the tree at `root`, with this interpreter's environment.  Raises: NotReady."""
    with ExitStack() as cleanup:
        database_url = cleanup.enter_context(services.temporary_database("saas_bench"))
        redis_url = cleanup.enter_context(services.free_redis_db())
        env = production_env(plan, database_url=database_url, redis_url=redis_url, provider_url=provider_url)
        with _started_from(root):
            teams = provisioned(env, teams=plan.teams, model=plan.model)
            start_web = {"granian": processes.start_web, "gunicorn": processes.start_web_gunicorn}[plan.server]
            web = start_web(env, threads=plan.web_threads)
            cleanup.callback(web.kill)
            worker = processes.start_worker(env, concurrency=plan.worker_threads)
            cleanup.callback(worker.kill)
            beat = processes.start_beat(env)
            cleanup.callback(beat.kill)
        postgres = Postgres(database_url)
        cleanup.callback(postgres.close)
        client = redis.Redis.from_url(redis_url)
        cleanup.callback(client.close)
        yield Stack(web, worker, beat, teams, postgres, client)


def production_env(plan: Plan, *, database_url: str, redis_url: str, provider_url: str) -> dict[str, str]:
    """Settings as in production, secrets included; what is not named has its default."""
    return {
        "DJANGO_SETTINGS_MODULE": "saasllm.settings",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "REDIS_PREFIX": "bench",
        "LITELLM_BASE_URL": provider_url,
        "SECRET_KEY": secrets.token_urlsafe(50),
        "KEY_PEPPER": secrets.token_urlsafe(50),
        "MASTER_KEY": f"sk-{secrets.token_urlsafe(24)}",
        **plan.settings,
    }


def provisioned(env: Mapping[str, str], *, teams: int, model: str = "fake-ok") -> list[tuple[str, str]]:
    """Migrate the database and make that many teams, which call that model: their ids and keys.  Raises: NotReady."""
    migrated = processes.manage(env, "migrate", "--verbosity", "0", is_checked=False)
    if migrated.returncode:
        raise NotReady(f"the database could not be migrated:\n{migrated.stdout}{migrated.stderr}")
    # -P: the script's folder is this tree's, and must not be where a module is looked for.
    made = subprocess.run(
        [sys.executable, "-P", str(_SEED), str(teams), str(_CREDITS), model],
        cwd=processes.ROOT,
        env=processes.environment(env),
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise NotReady(f"the customers could not be made:\n{made.stdout}{made.stderr}")
    return [(team_id, secret) for team_id, secret in json.loads(made.stdout)]


@contextmanager
def _started_from(root: Path) -> Iterator[None]:
    """The harness starts programs in its own tree; a comparison needs those of another one."""
    original, processes.ROOT = processes.ROOT, root
    try:
        yield
    finally:
        processes.ROOT = original
