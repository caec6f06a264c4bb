"""Time as the database sees it. Leases and deadlines compare there: a machine's own clock may be wrong."""

from datetime import UTC, datetime, timedelta

from django.db import connection
from django.db.models import DateTimeField, ExpressionWrapper
from django.db.models.expressions import Combinable
from django.db.models.functions import Now
from django.utils import timezone


def now() -> datetime:
    """This process's clock, for what is only shown: never to judge a lease or a deadline."""
    return timezone.now()


def db_now() -> datetime:
    """The database's clock now, to the precision it has. One query."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT clock_timestamp()")
        else:
            cursor.execute("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')")
        value = cursor.fetchone()[0]
    return datetime.fromisoformat(value).replace(tzinfo=UTC) if isinstance(value, str) else value


def from_now(seconds: float) -> Combinable:
    """An expression for the database's clock plus `seconds` (which may be negative)."""
    if seconds == 0:
        return Now()
    return ExpressionWrapper(Now() + timedelta(seconds=seconds), output_field=DateTimeField())


def as_utc(instant: datetime) -> datetime:
    """The instant in UTC, which one without a zone is taken to be. Raises: ValueError at the ends of the calendar."""
    try:
        return instant.astimezone(UTC) if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("The instant is out of range") from None


def iso(instant: datetime | None) -> str | None:
    """ISO 8601 in UTC ending in Z, with milliseconds."""
    if instant is None:
        return None
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
