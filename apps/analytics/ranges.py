"""Spans of time that figures are shown for, cut into points, and the span before. All ends are those of quarters."""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from apps.analytics.rollups.spans import DAY, HOUR, QUARTER, hour_of, midnight, quarter_after, steps
from apps.core import clock
from apps.core.errors import InvalidField

# Two years and a day: what one chart of days can be asked for.
DAYS_MAX = 731


class Preset(StrEnum):
    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"
    QUARTER = "90d"


class Grain(StrEnum):
    """How long one point of a chart is."""

    QUARTER = "15m"
    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Range:
    """From `points[0]` to before `until`. Each point begins a bar and ends where the next begins.

    The span before is as long as what of this one has passed by now, so that the two can be compared.
    """

    points: tuple[datetime, ...]
    until: datetime
    before_since: datetime
    before_until: datetime
    grain: Grain
    zone: str

    @property
    def since(self) -> datetime:
        return self.points[0]

    @property
    def is_of_hours(self) -> bool:
        """Whether all of its ends are those of hours of UTC, as they are in most zones."""
        ends = (*self.points, self.until, self.before_since, self.before_until)
        return all(hour_of(end) == end for end in ends)

    def point_of(self, instant: datetime) -> int:
        """The place of the point that the instant belongs to; -1 before the first."""
        return bisect_right(self.points, instant) - 1


def of_preset(preset: Preset, zone: str, *, now: datetime | None = None) -> Range:
    """The span of that name that ends with the current quarter, hour or day of the zone. `now` spares a query."""
    now = now or clock.db_now()
    if preset == Preset.DAY:
        until = quarter_after(now)
        return _steps(until - DAY, until, QUARTER, Grain.QUARTER, zone, now)
    if preset == Preset.WEEK:
        # In zones such as +05:45 an hour begins at a quarter of UTC's.
        begins = now.astimezone(ZoneInfo(zone)).replace(minute=0, second=0, microsecond=0).astimezone(UTC)
        until = begins + HOUR
        return _steps(until - 7 * DAY, until, HOUR, Grain.HOUR, zone, now)
    days = 30 if preset == Preset.MONTH else 90
    last = now.astimezone(ZoneInfo(zone)).date()
    return _days(last - timedelta(days=days - 1), last, zone, now)


def of_days(first: date, last: date, zone: str, *, now: datetime | None = None) -> Range:
    """From the first to the last day of the zone, both included. Raises: InvalidField."""
    if last < first:
        raise InvalidField("until", "The last day is before the first.", value=str(last))
    if (last - first).days >= DAYS_MAX:
        raise InvalidField("since", f"A range has at most {DAYS_MAX} days.", value=str(first))
    return _days(first, last, zone, now or clock.db_now())


def _days(first: date, last: date, zone: str, now: datetime) -> Range:
    days, found = (last - first).days + 1, ZoneInfo(zone)
    points = tuple(midnight(first + timedelta(days=each), found) for each in range(days))
    until = midnight(last + timedelta(days=1), found)
    before = midnight(first - timedelta(days=days), found)
    return _with_before(points, until, before, Grain.DAY, zone, now)


def _steps(since: datetime, until: datetime, step: timedelta, grain: Grain, zone: str, now: datetime) -> Range:
    return _with_before(tuple(steps(since, until, step)), until, since - (until - since), grain, zone, now)


def _with_before(
    points: tuple[datetime, ...], until: datetime, before: datetime, grain: Grain, zone: str, now: datetime
) -> Range:
    step = QUARTER if grain == Grain.QUARTER else HOUR
    passed = min(until - points[0], max(step, -((points[0] - now) // step) * step))
    return Range(points, until, before, min(before + passed, points[0]), grain, zone)
