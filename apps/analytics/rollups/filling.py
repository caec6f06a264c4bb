"""How far rollups are filled, and filling them further. Time is the database's.

A row can become visible minutes after the instant that it bears: its transaction began then. So each run looks again
at what lies LOOK_BACK behind the watermark. What takes longer than that is found by `ledger_verify`, as far as it is
charges, and put right by a rebuild.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import models, transaction
from django.db.models.functions import Now

from apps.analytics.models import Watermark
from apps.analytics.rollups import statements
from apps.analytics.rollups.spans import (
    DAY,
    HOUR,
    QUARTER,
    day_of,
    hour_of,
    midnight,
    quarter_after,
    quarter_of,
    steps,
)
from apps.core import clock
from apps.core.db import is_postgresql
from apps.credits.models import Entry
from apps.jobs.models import Call, Job
from apps.limits.models import Decision
from apps.organizations.models import Organization

# Longer than any transaction that ends calls, closes jobs or posts entries, and than clocks of machines differ.
LOOK_BACK = timedelta(minutes=10)
QUARTERS, DAYS = "quarters", "days"
# Of one transaction and of one run, so that a long absence is made up for in pieces.
_QUARTERS_AT_ONCE = 96
_PIECES_A_RUN = 10
_TIMES: tuple[tuple[type[models.Model], str], ...] = (
    (Call, "ended_at"),
    (Job, "completed_at"),
    (Entry, "created_at"),
    (Decision, "created_at"),
)
Progress = Callable[[datetime], None]


@dataclass(slots=True)
class Filled:
    """What a run did. `is_behind`: it stopped before it came to now."""

    quarters: int = 0
    days: int = 0
    is_behind: bool = False

    def __str__(self) -> str:
        return f"{self.quarters} quarters and {self.days} days filled"


def filled_until(name: str = QUARTERS) -> datetime | None:
    """Up to when a rollup is whole. None before its first run."""
    return Watermark.objects.filter(pk=name).values_list("until", flat=True).first()


def fill() -> Filled:
    """Bring all rollups up to now, or as far as one run goes. Does nothing while another run is at it."""
    filled = Filled()
    for piece in (_fill_quarters, _fill_customers):
        if all(piece(filled) for _ in range(_PIECES_A_RUN)):
            filled.is_behind = True
    return filled


def rebuild(since: datetime, until: datetime, *, progress: Progress = lambda _: None) -> Filled:
    """Fill the days of UTC that a span touches anew, a day in each transaction. Waits for a run that is at it.

    Refusals older than they are kept are left as they are. What is beyond the watermark is left to `fill`.
    """
    filled, now = Filled(), clock.db_now()
    for day in steps(day_of(since), min(until, now), DAY):
        with transaction.atomic():
            mark = _locked(QUARTERS, starts_at=day, wait=True)
            assert mark is not None
            if day >= mark.until:
                break
            filled.quarters += _replace(day, min(day + DAY, quarter_after(mark.until)), now)
            filled.days += _fill_days([day], mark.until)
        _rebuild_customers(day)
        progress(day)
    return filled


def earliest(since: datetime | None = None) -> datetime | None:
    """The first instant, from `since` on, at which anything happened. Four look-ups in indexes."""
    found = []
    for table, name in _TIMES:
        rows = table._default_manager.filter(**{f"{name}__isnull": False})
        if since is not None:
            rows = rows.filter(**{f"{name}__gte": since})
        found += list(rows.order_by(name).values_list(name, flat=True)[:1])
    return min(found, default=None)


def _fill_quarters(filled: Filled) -> bool:
    """One piece, in one transaction. Whether there is more to do."""
    with transaction.atomic():
        now = clock.db_now()
        mark = _locked(QUARTERS, starts_at=now)
        if mark is None:
            return False
        begins = quarter_of(mark.until - LOOK_BACK)
        days, first, until = [day_of(begins)], earliest(begins), now
        if first is not None and first < now:
            # Between two instants at which something happened lies nothing to fill but the day of the former.
            begins = max(begins, quarter_of(first))
            until = min(begins + QUARTER * _QUARTERS_AT_ONCE, now)
            filled.quarters += _replace(begins, until, now)
            days += steps(day_of(begins), until, DAY)
        filled.days += _fill_days(days, until)
        _move(mark, until)
    return until < now


def _replace(since: datetime, until: datetime, now: datetime) -> int:
    keeps_refusals = now - timedelta(days=settings.DECISION_RETENTION_DAYS)
    quarters = list(steps(since, until, QUARTER))
    for quarter in quarters:
        statements.fill_quarter(quarter, quarter + QUARTER, with_refusals=quarter >= keeps_refusals)
    for hour in steps(hour_of(since), until, HOUR):
        statements.fill_hour(hour, hour + HOUR)
    return len(quarters)


def _fill_days(days: Iterable[datetime], until: datetime) -> int:
    over = [day for day in dict.fromkeys(days) if day + DAY <= until]
    for day in over:
        statements.fill_day(day, day + DAY)
    return len(over)


def _fill_customers(filled: Filled) -> bool:
    """One piece of the days of keys and end customers. They are read from calls, a whole day at a time: so not more
    often than once a quarter of an hour."""
    with transaction.atomic():
        quarters = filled_until(QUARTERS)
        mark = _locked(DAYS, starts_at=clock.db_now())
        if mark is None or quarters is None or quarters - mark.until < QUARTER:
            return False
        begins, until = mark.until - LOOK_BACK, quarters
        first = earliest(begins)
        if first is not None and first < quarters:
            begins = max(begins, first)
            until = min(quarters, begins + DAY)
            filled.days += _replace_customers(begins, until)
        _move(mark, until)
    return until < quarters


def _rebuild_customers(day: datetime) -> None:
    with transaction.atomic():
        mark = _locked(DAYS, starts_at=day, wait=True)
        assert mark is not None
        if day < mark.until:
            _replace_customers(day, min(day + DAY, mark.until))


def _replace_customers(since: datetime, until: datetime) -> int:
    """Every zone's days that the span touches."""
    replaced = 0
    zones = Organization.objects.order_by().values_list("time_zone", flat=True).distinct()
    for name in list(zones):
        zone = ZoneInfo(name)
        day = since.astimezone(zone).date()
        while (begins := midnight(day, zone)) < until:
            day += timedelta(days=1)
            statements.fill_customers(day - timedelta(days=1), name, begins, midnight(day, zone))
            replaced += 1
    return replaced


def _locked(name: str, *, starts_at: datetime, wait: bool = False) -> Watermark | None:
    """The watermark under its lock; None while another has that. A new one stands before all that happened."""
    if not Watermark.objects.filter(pk=name).exists():
        Watermark.objects.bulk_create([Watermark(name=name, until=earliest() or starts_at)], ignore_conflicts=True)
    rows = Watermark.objects.select_for_update(skip_locked=is_postgresql() and not wait)
    return rows.filter(pk=name).first()


def _move(mark: Watermark, until: datetime) -> None:
    Watermark.objects.filter(pk=mark.pk).update(until=until, filled_at=Now())
