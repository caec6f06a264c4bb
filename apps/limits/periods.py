"""Days, weeks and months of a time zone. A period is named, never reset: its name follows from an instant alone."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from apps.limits.models import Metric


def name_at(metric: str, instant: datetime, zone: str) -> str:
    """The period that an instant is in: 2026-11-24, 2026-W48 (ISO 8601, from Monday) or 2026-11."""
    day = instant.astimezone(ZoneInfo(zone)).date()
    if metric == Metric.SPEND_DAY:
        return day.isoformat()
    if metric == Metric.SPEND_WEEK:
        # The year that the week is counted in, which is not always the day's.
        year, week, _ = day.isocalendar()
        return f"{year:04d}-W{week:02d}"
    return f"{day.year:04d}-{day.month:02d}"


def end_of(metric: str, instant: datetime, zone: str) -> datetime:
    """When the period that an instant is in ends, in UTC: the next one's first midnight there."""
    day = instant.astimezone(ZoneInfo(zone)).date()
    if metric == Metric.SPEND_DAY:
        following = day + timedelta(days=1)
    elif metric == Metric.SPEND_WEEK:
        following = day + timedelta(days=7 - day.weekday())
    else:
        following = date(day.year + day.month // 12, day.month % 12 + 1, 1)
    # A midnight that the clock jumps over is the instant of the jump.
    return datetime.combine(following, time(), ZoneInfo(zone)).astimezone(UTC)
