"""How the platform itself does: what waits and runs, who is at work, and how fresh the figures are."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import CharField, Count, Max, Min, Q, Value
from django.db.models.functions import Now

from apps.analytics.models import Watermark
from apps.analytics.rollups.filling import QUARTERS
from apps.core import clock, verification
from apps.core.models import Event, Process
from apps.core.processes import DEAD_AFTER_S
from apps.jobs.models import Call

STALE_AFTER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What the last `ledger_verify` found, by the schedule or by hand."""

    verified_at: datetime
    differences: int
    accounts: int
    entries: int


@dataclass(frozen=True, slots=True)
class Machine:
    """`workers` are those that said within 20 seconds that they live. None: never, or none."""

    waiting: int
    oldest_waiting_s: int | None
    running: int
    workers: int
    swept_at: datetime | None
    ledger: LedgerState | None
    figures_until: datetime | None


def machine_room() -> Machine:
    """Three queries."""
    is_waiting = Q(state=Call.State.QUEUED)
    calls = Call.objects.order_by().filter(is_waiting | Q(state=Call.State.RUNNING))
    found = calls.aggregate(
        waiting=Count("pk", filter=is_waiting),
        running=Count("pk", filter=~is_waiting),
        oldest=Min("created_at", filter=is_waiting),
        now=Max(Now()),
    )
    oldest_s = int((found["now"] - found["oldest"]).total_seconds()) if found["oldest"] else None
    seen = _seen()
    return Machine(
        waiting=found["waiting"],
        oldest_waiting_s=oldest_s,
        running=found["running"],
        workers=len(seen.get("worker", ())),
        swept_at=max(seen.get("sweeper", ()), default=None),
        ledger=ledger_state(),
        figures_until=max(seen.get(_ROLLUPS, ()), default=None),
    )


def ledger_state() -> LedgerState | None:
    """None before the first run. One query."""
    # With the empty team, which the index begins with.
    events = Event.objects.filter(team_id="", kind=verification.VERIFIED).order_by("-created_at")
    event = events.first()
    if event is None:
        return None
    figures = {name: int(event.data.get(name, 0)) for name in ("differences", "accounts", "entries")}
    return LedgerState(event.created_at, **figures)


_ROLLUPS = "rollups"


def _seen() -> dict[str, list[datetime]]:
    """By kind: when the sweeper and the workers that live were last seen; and up to when the rollups are filled."""
    lives = Q(kind="worker", seen_at__gte=clock.from_now(-DEAD_AFTER_S))
    rows = Process.objects.filter(lives | Q(kind="sweeper")).values_list("kind", "seen_at")
    marks = Watermark.objects.filter(pk=QUARTERS).order_by()
    found: dict[str, list[datetime]] = {}
    for kind, at in rows.union(marks.values_list(Value(_ROLLUPS, CharField()), "until"), all=True):
        found.setdefault(kind, []).append(at)
    return found
