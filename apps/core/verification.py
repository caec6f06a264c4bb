"""Re-derives what is stored: each app registers checks that yield what differs (`manage.py ledger_verify`).

Invariant: all checks of a run see one instant, and write nothing. Two plain statements see two instants, and
report drifts that never were.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.expressions import Combinable

from apps.core import audit
from apps.core.db import is_postgresql

# The event that a run leaves.
VERIFIED = "ledger.verified"
# So many differences are named in it; its count tells of all.
NAMED_MAX = 50

log = logging.getLogger("saasllm.verification")


@dataclass(frozen=True, slots=True)
class Difference:
    """What is stored and what it should be. `check` names the rule, `subject` the row as kind:id."""

    check: str
    subject: str
    expected: int | str | None
    found: int | str | None

    def __str__(self) -> str:
        return f"{self.check} of {self.subject}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a run looked at and what it found to differ."""

    differences: list[Difference]
    checks: int
    seconds: float
    figures: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        looked_at = [f"{self.checks} checks", *(f"{count} {name}" for name, count in self.figures.items())]
        return f"{len(self.differences)} differences: {', '.join(looked_at)}, {self.seconds:.2f} s"

    def as_json(self) -> dict[str, Any]:
        return {
            "differences": [asdict(difference) for difference in self.differences],
            "checks": self.checks,
            **self.figures,
            "seconds": round(self.seconds, 3),
        }


Check = Callable[[], Iterable[Difference]]

_CHECKS: dict[str, Check] = {}
_FIGURES: dict[str, Callable[[], int]] = {}


def register(app: str, *checks: Check) -> None:
    """Add an app's checks to every run. Called from its AppConfig.ready()."""
    for check in checks:
        _CHECKS[f"{app}.{check.__name__}"] = check


def register_figure(name: str, count: Callable[[], int]) -> None:
    """Add a count of what was looked at to the summary."""
    _FIGURES[name] = count


def differences() -> Iterator[Difference]:
    """What differs, as the caller's own transaction sees it."""
    for check in _CHECKS.values():
        yield from check()


def verify() -> Report:
    """Run every check in one read-only snapshot."""
    started = time.monotonic()
    with snapshot():
        found = list(differences())
        figures = {name: count() for name, count in _FIGURES.items()}
    return Report(found, checks=len(_CHECKS), seconds=time.monotonic() - started, figures=figures)


def verify_and_report() -> Report:
    """Verify, log an error for each difference, and leave the outcome as an event for whoever watches."""
    report = verify()
    for difference in report.differences:
        log.error("ledger differs: %s", difference)
    note(report)
    return report


def note(report: Report) -> None:
    """Leave the outcome of a run as an event."""
    named = [asdict(difference) for difference in report.differences[:NAMED_MAX]]
    outcome: dict[str, Any] = report.as_json() | {"differences": len(report.differences), "found": named}
    audit.emit(VERIFIED, subject="ledger", **outcome)


@contextmanager
def snapshot() -> Iterator[None]:
    """One instant of the whole database for all reads of the block, in a transaction of its own."""
    if is_postgresql():
        with transaction.atomic(durable=True):
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
        return
    # Django would BEGIN IMMEDIATE, which keeps every writer out for as long as this reads. A deferred one is a
    # snapshot in WAL mode from its first read on.
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


def compare(
    rows: QuerySet[Any, Any], *, kind: str, derived: Mapping[str, Combinable], check: str | None = None
) -> Iterator[Difference]:
    """Rows whose stored columns differ from what is derived for them, found by the database. No derived NULLs."""
    differs = Q()
    for name in derived:
        differs |= ~Q(**{name: F(f"derived_{name}")})
    annotated = rows.order_by().annotate(**{f"derived_{name}": value for name, value in derived.items()})
    columns = [column for name in derived for column in (name, f"derived_{name}")]
    for row in annotated.filter(differs).values("pk", *columns).iterator():
        for name in derived:
            expected, found = row[f"derived_{name}"], row[name]
            if expected != found:
                yield Difference(check or f"{kind}.{name}", f"{kind}:{row['pk']}", expected, found)


def each(rows: QuerySet[Any, Any], *, check: str, kind: str, expected: str, found: str) -> Iterator[Difference]:
    """A difference for each row that should not be there; `found` is the column that tells."""
    for pk, value in rows.order_by().values_list("pk", found).iterator():
        yield Difference(check, f"{kind}:{pk}", expected, value if isinstance(value, int) else str(value))
