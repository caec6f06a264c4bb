"""Quarters of an hour and days, in UTC. 15 minutes, because zones such as +05:45 cut their days there."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

QUARTER = timedelta(minutes=15)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def quarter_of(instant: datetime) -> datetime:
    """The beginning of the quarter of an hour that the instant is in."""
    instant = instant.astimezone(UTC)
    return instant.replace(minute=instant.minute - instant.minute % 15, second=0, microsecond=0)


def hour_of(instant: datetime) -> datetime:
    """The beginning of the instant's hour of UTC."""
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def day_of(instant: datetime) -> datetime:
    """The beginning of the instant's day of UTC."""
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def quarter_after(instant: datetime) -> datetime:
    """The first beginning of a quarter that is not before the instant."""
    begins = quarter_of(instant)
    return begins if begins == instant else begins + QUARTER


def steps(since: datetime, until: datetime, step: timedelta) -> Iterator[datetime]:
    """Instants from `since` to before `until`."""
    while since < until:
        yield since
        since += step


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a zone's day, in UTC."""
    return datetime.combine(day, time(), zone).astimezone(UTC)
