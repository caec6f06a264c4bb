"""Spans of time that a query asks for, in UTC."""

import re
from datetime import UTC, datetime, timedelta

from rest_framework.request import Request

from apps.api.fields import query_error
from apps.core.errors import InvalidRequest

_PERIOD = re.compile(r"([12]\d{3})-(\d{2})(?:-(\d{2}))?", re.ASCII)
_DAY = re.compile(r"[12]\d{3}-\d{2}-\d{2}", re.ASCII)


def period_of(request: Request) -> tuple[str, datetime, datetime]:
    """The required `period`, a month or a day: as given, its first instant, the first after it.

    Raises: InvalidBody.
    """
    period = request.GET.get("period")
    if period is None:
        raise query_error("period", "Field required", kind="missing")
    parts = _PERIOD.fullmatch(period)
    try:
        if parts is None:
            raise ValueError
        year, month, day = parts.groups()
        since = datetime(int(year), int(month), int(day or 1), tzinfo=UTC)
    except ValueError:
        raise query_error("period", "Must be a month (YYYY-MM) or a day (YYYY-MM-DD)", value=period) from None
    if day is not None:
        return period, since, since + timedelta(days=1)
    # 32 days after the first of a month is always in the next one.
    return period, since, (since + timedelta(days=32)).replace(day=1)


def dates_of(request: Request) -> tuple[datetime | None, datetime | None]:
    """`start_date` and the instant at which `end_date` (which counts in) is over; None for what is not given.

    Raises: InvalidRequest for a date of another form, or one that begins after it ends.
    """
    since, last = _date(request, "start_date"), _date(request, "end_date")
    if since is not None and last is not None and since > last:
        raise InvalidRequest("start_date must not be after end_date")
    return since, None if last is None else last + timedelta(days=1)


def _date(request: Request, name: str) -> datetime | None:
    text = request.GET.get(name)
    if not text:
        return None
    try:
        if not _DAY.fullmatch(text):
            raise ValueError
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidRequest(f"Invalid {name} format: {text[:100]}. Use ISO format (YYYY-MM-DD)") from None
