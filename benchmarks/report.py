"""Rows of figures, and how they are shown: a table, JSON, ratios of two trees."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.usage import Spent

# Ours, in the order of the table. PostgreSQL is None where its processes cannot be seen.
PARTS = ("web", "worker", "beat", "postgresql", "redis")
APART = ("load", "provider")
BUDGET_MS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One window: `calls` are calls of `llm-call`, or whole workflows. CPU is in milliseconds a call."""

    workload: str
    clients: int
    calls: int
    seconds: float
    calls_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: Mapping[str, float | None]
    cpu_sum_ms: float
    elsewhere_share: float
    yardstick_ms: float
    errors: int
    error_samples: Sequence[str]
    # Of streams alone: to the first text, by us and by the provider asked directly, and chunks in all.
    first_p50_ms: float = 0.0
    direct_first_p50_ms: float = 0.0
    chunks: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def row(
    *,
    workload: str,
    clients: int,
    result: Mapping[str, Any],
    direct: Mapping[str, Any],
    spent: Spent,
    yardstick_ms: float,
) -> Row:
    """A row from what the load generator says and what was spent meanwhile."""
    calls = int(result["calls"])
    seconds_by_part = {**spent.processes_s, "postgresql": spent.postgres_s, "redis": spent.redis_s}
    cpu_ms = {part: _per_call_ms(used_s, calls) for part, used_s in seconds_by_part.items()}
    return Row(
        workload=workload,
        clients=clients,
        calls=calls,
        seconds=result["seconds"],
        calls_per_s=calls / result["seconds"],
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
        cpu_ms=cpu_ms,
        cpu_sum_ms=sum(cpu_ms[part] or 0.0 for part in PARTS),
        elsewhere_share=spent.elsewhere_share,
        yardstick_ms=yardstick_ms,
        errors=result["errors"],
        error_samples=result["error_samples"],
        first_p50_ms=result["first_p50_ms"],
        direct_first_p50_ms=direct.get("first_p50_ms", 0.0),
        chunks=result["chunks"],
    )


def _per_call_ms(used_s: float | None, calls: int) -> float | None:
    return None if used_s is None or not calls else used_s * 1000 / calls


def table(rows: Sequence[Row]) -> str:
    """What `make bench` prints: our CPU a call by process and in sum, then what is not ours."""
    head = ["workload", "clients", "calls/s", "p50 ms", "p99 ms", "web", "worker", "beat", "PostgreSQL", "Redis"]
    head += ["CPU ms/call", "load", "provider", "elsewhere", "errors"]
    lines = [
        [
            found.workload,
            str(found.clients),
            f"{found.calls_per_s:.1f}",
            f"{found.p50_ms:.1f}",
            f"{found.p99_ms:.1f}",
            *(_figure(found.cpu_ms[part]) for part in PARTS),
            _figure(found.cpu_sum_ms),
            *(_figure(found.cpu_ms[part]) for part in APART),
            f"{found.elsewhere_share:.0%}",
            str(found.errors),
        ]
        for found in rows
    ]
    return aligned([head, *lines])


def _of_stream(found: Row) -> str:
    """What a row of streams tells beside the table. CPU a chunk includes the call's own."""
    return (
        f"{found.workload}, {found.clients} clients: first text after {found.first_p50_ms:.1f} ms at p50"
        f" (the provider asked directly: {found.direct_first_p50_ms:.1f} ms);"
        f" {found.chunks / found.calls:.1f} chunks a call,"
        f" {found.cpu_sum_ms * found.calls / found.chunks:.2f} ms of our CPU a chunk.\n"
    )


def notes(rows: Sequence[Row]) -> str:
    """How to read the table."""
    sticks = [found.yardstick_ms for found in rows]
    return "".join(_of_stream(found) for found in rows if found.calls and found.chunks) + (
        "CPU is in ms a call, a workflow (create, call, complete) counting as one; the budget of a call is"
        f" {BUDGET_MS:g} ms in sum.\nload and provider are this benchmark's own. elsewhere is what else the machine"
        " was busy with: beside a busy neighbour\neverything costs more CPU. Yardstick, to tell runs apart: a fixed"
        f" piece of Python took {min(sticks):.0f} to {max(sticks):.0f} ms of CPU."
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


RATIOS: dict[str, Callable[[Row], float | None]] = {
    "calls/s": lambda found: found.calls_per_s,
    "p50": lambda found: found.p50_ms,
    "p99": lambda found: found.p99_ms,
    "CPU a call": lambda found: found.cpu_sum_ms,
    "CPU of web": lambda found: found.cpu_ms["web"],
    "CPU of worker": lambda found: found.cpu_ms["worker"],
    "CPU of PostgreSQL": lambda found: found.cpu_ms["postgresql"],
    "CPU of Redis": lambda found: found.cpu_ms["redis"],
}


def ratios(pairs: Sequence[tuple[Row, Row]]) -> list[dict[str, Any]]:
    """How the second tree compares to the first: for each figure min, median and max of the pairs' ratios."""
    found = []
    for name, figure in RATIOS.items():
        values = [(figure(first), figure(second)) for first, second in pairs]
        # A process that used less than the clock can see has no ratio.
        quotients = [second / first for first, second in values if first and second is not None]
        if len(quotients) != len(pairs):
            continue
        found.append(
            {
                "figure": name,
                "min": min(quotients),
                "median": statistics.median(quotients),
                "max": max(quotients),
                "before": statistics.median(first for first, _ in values if first is not None),
                "after": statistics.median(second for _, second in values if second is not None),
            }
        )
    return found


def ratio_table(compared: Sequence[Mapping[str, Any]]) -> str:
    """One line a figure: medians of both trees, then the ratio's min, median and max."""
    head = ["figure", "before", "after", "ratio min", "median", "max"]
    lines = [
        [
            found["figure"],
            f"{found['before']:.2f}",
            f"{found['after']:.2f}",
            f"{found['min']:.3f}",
            f"{found['median']:.3f}",
            f"{found['max']:.3f}",
        ]
        for found in compared
    ]
    return aligned([head, *lines])


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns of text: the first to the left, figures to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
