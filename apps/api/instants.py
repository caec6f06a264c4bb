"""Instants as callers write them: ISO 8601 with a time zone."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator
from rest_framework.request import Request

from apps.api.fields import query_error


def instant(value: Any) -> datetime:
    """Raises: ValueError for what is no instant, or has no time zone."""
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError("Must be an instant in ISO 8601 with a time zone, e.g. 2026-01-31T00:00:00Z")
    return found


Instant = Annotated[datetime, BeforeValidator(instant)]


def query_instant(request: Request, name: str) -> datetime | None:
    """A query parameter that is an instant, None without it. Raises: InvalidBody."""
    text = request.GET.get(name)
    if text is None:
        return None
    try:
        # A plus that was not escaped arrives as a space.
        return instant(text.replace(" ", "+"))
    except ValueError as error:
        raise query_error(name, str(error), value=text) from None
