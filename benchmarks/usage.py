"""CPU over a window: of the processes that were started here, of PostgreSQL and Redis, of the whole machine.

Invariant: a backend that ends inside the window is not lost (its parent inherits what it used), and backends of
other databases are left out as far as they live at the window's end, since the servers may be shared.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from tests.harness.processes import Process

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_TRIES = 20


@dataclass(frozen=True, slots=True)
class PostgresUsage:
    """CPU of one server: of its main process with all that ended, and of each process that lives."""

    main_s: float
    living_s: Mapping[int, float]
    foreign: frozenset[int]


class Postgres:
    """A PostgreSQL server, seen from one of its databases."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._main = _parent_of_backend(self._connection.info.backend_pid)

    def close(self) -> None:
        self._connection.close()

    def usage(self) -> PostgresUsage | None:
        """None when its processes cannot be seen from here: another machine, or a container of its own."""
        if self._main is None:
            return None
        rows = self._connection.execute("SELECT pid FROM pg_stat_activity WHERE datname <> current_database()")
        foreign = frozenset(int(row[0]) for row in rows)
        # A backend that ends between the two readings would be missed or counted twice: read again then.
        for _ in range(_TRIES):
            main_s = _cpu_s(_stat(self._main))
            living_s = {pid: _cpu_s(fields) for pid, fields in _children(self._main).items()}
            if _cpu_s(_stat(self._main)) == main_s:
                break
        return PostgresUsage(main_s=main_s, living_s=living_s, foreign=foreign)


def postgres_seconds(before: PostgresUsage, after: PostgresUsage) -> float:
    """CPU that the server spent in between, without other databases' backends."""
    total = after.main_s + sum(after.living_s.values()) - before.main_s - sum(before.living_s.values())
    foreign = (before.foreign | after.foreign) & after.living_s.keys()
    ours = total - sum(after.living_s[pid] - before.living_s.get(pid, 0.0) for pid in foreign)
    # The kernel counts hundredths; sums of floats leave crumbs, below zero too.
    return round(ours, 6)


def redis_seconds(client: "redis.Redis") -> float:
    """CPU of the server so far, by its own account."""
    info = client.info("cpu")
    assert isinstance(info, dict)
    return sum(float(info[f"used_cpu_{kind}"]) for kind in ("sys", "user", "sys_children", "user_children"))


def machine_seconds() -> float:
    """CPU of everything on this machine so far, the kernel and what the host took away included."""
    fields = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / _TICKS_PER_S


def yardstick_ms() -> float:
    """CPU of a fixed piece of work: figures taken at different speeds of the machine cannot be compared."""
    started = time.process_time()
    sum(number % 7 for number in range(500_000))
    return (time.process_time() - started) * 1000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it at one instant."""

    at_s: float
    processes_s: Mapping[str, float]
    postgres: PostgresUsage | None
    redis_s: float
    machine_s: float


def snapshot(processes: Mapping[str, Process], postgres: Postgres, redis_client: "redis.Redis") -> Snapshot:
    """Raises: ProcessLookupError when one of the processes has ended."""
    return Snapshot(
        at_s=time.monotonic(),
        processes_s={name: process.cpu_seconds() for name, process in processes.items()},
        postgres=postgres.usage(),
        redis_s=redis_seconds(redis_client),
        machine_s=machine_seconds(),
    )


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds between two snapshots. `elsewhere_share`: of the machine, by whatever is not measured here."""

    processes_s: Mapping[str, float]
    postgres_s: float | None
    redis_s: float
    elsewhere_share: float


def spent(before: Snapshot, after: Snapshot) -> Spent:
    processes_s = {name: after.processes_s[name] - used_s for name, used_s in before.processes_s.items()}
    postgres_s = None
    if before.postgres is not None and after.postgres is not None:
        postgres_s = postgres_seconds(before.postgres, after.postgres)
    redis_s = after.redis_s - before.redis_s
    known_s = sum(processes_s.values()) + (postgres_s or 0.0) + redis_s
    capacity_s = (after.at_s - before.at_s) * (os.cpu_count() or 1)
    elsewhere_s = after.machine_s - before.machine_s - known_s
    return Spent(processes_s, postgres_s, redis_s, elsewhere_share=max(0.0, elsewhere_s / capacity_s))


def _parent_of_backend(backend: int) -> int | None:
    """The server's main process, by a backend's pid, if that pid means the same process here."""
    try:
        fields = _stat(backend)
        main = int(fields[2])
        names = {fields[0], _stat(main)[0]}
    except FileNotFoundError:
        return None
    return main if names == {"postgres"} else None


def _children(parent: int) -> dict[int, list[str]]:
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = _stat(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            # It ended since the listing.
            continue
        if int(fields[2]) == parent:
            found[int(folder.name)] = fields
    return found


def _stat(pid: int) -> list[str]:
    """Name, state, parent and so on: the fields of /proc/PID/stat after the pid."""
    text = Path("/proc", str(pid), "stat").read_text()
    # The name is in parentheses and may hold spaces and parentheses itself.
    return [text[text.index("(") + 1 : text.rindex(")")], *text[text.rindex(")") + 2 :].split()]


def _cpu_s(fields: list[str]) -> float:
    """Its own CPU and that of children it has waited for."""
    return sum(int(ticks) for ticks in fields[12:16]) / _TICKS_PER_S
