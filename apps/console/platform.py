"""How the platform stands, for its System page: what waits, who works, what is stored, and what it stands on.

What asks another system has a short timeout and is never in a transaction.
"""

import platform as machine
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import django
import redis
from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Min
from django.db.models.functions import Now

from apps.console import formats
from apps.core import clock, verification
from apps.core.models import Event, Process
from apps.core.processes import DEAD_AFTER_S
from apps.jobs.gateway import litellm_proxy
from apps.jobs.models import Call, CallPayload

_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Calls in one state of one kind."""

    state: str
    kind: str
    calls: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something the platform stands on. `without` says what works while it is away."""

    name: str
    state: str
    detail: str
    latency_ms: int | None
    without: str


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    rows: int | None
    size: str


def queue() -> list[Waiting]:
    """Waiting and running calls by kind. One query."""
    open_ = Call.objects.filter(state__in=(Call.State.QUEUED, Call.State.RUNNING)).order_by("state", "kind")
    rows = open_.values_list("state", "kind").annotate(Count("pk"), Min("created_at"))
    return [Waiting(*row) for row in rows]


def expired_leases() -> int:
    """Calls whose worker has not said for too long that it lives; the sweeper takes them over. One query."""
    return Call.objects.filter(state=Call.State.RUNNING, lease_until__lt=Now()).count()


def processes() -> list[tuple[Process, bool]]:
    """All processes that ever said that they live, the latest first, and whether they live now. One query."""
    rows = Process.objects.annotate(asked_at=Now()).order_by("kind", "-seen_at")[:100]
    return [(row, (row.asked_at - row.seen_at).total_seconds() <= DEAD_AFTER_S) for row in rows]


def verifications() -> list[Event]:
    """The last ten checks of the ledger, newest first. One query."""
    return list(Event.objects.filter(team_id="", kind=verification.VERIFIED).order_by("-created_at")[:10])


def tables() -> list[Table]:
    """The largest tables, as the database estimates them; SQLite knows its size alone. One query."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT c.relname, c.reltuples::bigint, pg_size_pretty(pg_total_relation_size(c.oid))"
                " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE c.relkind = 'r' AND n.nspname = current_schema()"
                " ORDER BY pg_total_relation_size(c.oid) DESC LIMIT 12"
            )
            return [Table(name, rows if rows >= 0 else None, size) for name, rows, size in cursor.fetchall()]
        cursor.execute("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
        (size,) = cursor.fetchone()
    return [Table("the whole database", None, f"{size // 1024:,} kB")]


def oldest_content_at() -> datetime | None:
    """The oldest kept prompt or answer. One query."""
    found: datetime | None = CallPayload.objects.aggregate(at=Min("call__created_at"))["at"]
    return found


def dependencies() -> list[Dependency]:
    """PostgreSQL or SQLite, Redis, LiteLLM. A second each at most."""
    return [_database(), _redis(), _litellm()]


def _timed(name: str, without: str, ask: Callable[[], str]) -> Dependency:
    started = time.monotonic()
    try:
        detail, state = ask(), "ok"
    except (DatabaseError, redis.RedisError, OSError) as error:
        # Its class alone: the text may name hosts and credentials.
        detail, state = type(error).__name__, "failed"
    return Dependency(name, state, detail, int((time.monotonic() - started) * 1000), without)


def _database() -> Dependency:
    is_postgresql = connection.vendor == "postgresql"

    def ask() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW server_version" if is_postgresql else "SELECT sqlite_version()")
            return str(cursor.fetchone()[0])

    return _timed("PostgreSQL" if is_postgresql else "SQLite", "Nothing works without it.", ask)


def _redis() -> Dependency:
    without = "Calls are made and settled without it, a little later; rates are counted by each process."
    if not settings.REDIS_URL:
        return Dependency("Redis", "not used", "REDIS_URL is not set", None, without)

    def ask() -> str:
        client = redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )
        try:
            return str(client.info("server").get("redis_version", ""))
        finally:
            client.close()

    return _timed("Redis", without, ask)


def _litellm() -> Dependency:
    without = "Open jobs stay open; calls to models that go by it fail and are not charged."
    if not settings.LITELLM_BASE_URL:
        return Dependency("LiteLLM", "not used", "LITELLM_BASE_URL is not set", None, without)

    return _timed("LiteLLM", without, lambda: litellm_proxy.alive(timeout_s=_TIMEOUT_S))


def versions() -> list[tuple[str, str]]:
    """What runs here, and whether the schema is that of the code."""
    pending = _pending()
    return [
        ("SaaS LiteLLM", settings.VERSION),
        ("LiteLLM library", _version("litellm")),
        ("Django", django.get_version()),
        ("Python", machine.python_version()),
        ("Pending migrations", ", ".join(pending[:5]) if pending else "none"),
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return formats.UNKNOWN


def _pending() -> list[str]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def configuration() -> Iterable[Any]:
    """What Django's and our own checks say about the configuration."""
    return [each for each in checks.run_checks() if each.level >= checks.WARNING and not each.is_silenced()]


def schedules() -> list[tuple[str, str]]:
    """What runs by itself, and how often."""
    sweep = formats.duration(int(settings.SWEEP_EVERY_S * 1000))
    found = [("sweep", sweep)]
    for name, entry in sorted(settings.CELERY_BEAT_SCHEDULE.items()):
        found.append((name, formats.duration(int(float(entry["schedule"]) * 1000))))
    return found


def is_late(swept_at: datetime | None) -> bool:
    """Whether the sweeper should long have run again."""
    return swept_at is None or (clock.now() - swept_at).total_seconds() > max(30.0, 5 * settings.SWEEP_EVERY_S)
