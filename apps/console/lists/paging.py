"""Pages of lists: by key for what grows without end, by number for what people made by hand. Counts are bounded."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

COUNT_MAX = 10_000


class CursorExpired(ValueError):
    """Raised for a cursor that is none of this list's."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A page: its rows, newest first, and the cursors of its neighbours."""

    rows: Sequence[Any]
    newer: str
    older: str


def bounded_count(rows: QuerySet[Any]) -> tuple[int, bool]:
    """How many there are up to 10,000, and whether that is all of them."""
    found = rows.order_by().values("pk")[: COUNT_MAX + 1].count()
    return min(found, COUNT_MAX), found <= COUNT_MAX


def by_key(rows: QuerySet[Any], *, time_field: str, cursor: str, size: int) -> Rows:
    """A page by (time, id), newest first. Raises: CursorExpired."""
    ordered = rows.order_by(f"-{time_field}", "-pk")
    if not cursor:
        return _forward(list(ordered[: size + 1]), time_field, size, is_first=True)
    direction, instant, key = _decoded(cursor)
    try:
        if direction == "older":
            # Both conditions, so that the index on the time serves on either database.
            later = Q(**{f"{time_field}__lte": instant}) & (Q(**{f"{time_field}__lt": instant}) | Q(pk__lt=key))
            return _forward(list(ordered.filter(later)[: size + 1]), time_field, size, is_first=False)
        sooner = Q(**{f"{time_field}__gte": instant}) & (Q(**{f"{time_field}__gt": instant}) | Q(pk__gt=key))
        back = list(rows.order_by(time_field, "pk").filter(sooner)[: size + 1])
    except (ValueError, TypeError) as error:
        raise CursorExpired from error
    has_more, back = len(back) > size, back[:size][::-1]
    if not has_more:
        # The first page is whole, whatever came meanwhile.
        return _forward(list(ordered[: size + 1]), time_field, size, is_first=True)
    return Rows(back, _cursor("newer", back[0], time_field), _cursor("older", back[-1], time_field))


def _forward(found: list[Any], time_field: str, size: int, *, is_first: bool) -> Rows:
    page = found[:size]
    newer = "" if is_first or not page else _cursor("newer", page[0], time_field)
    older = _cursor("older", page[-1], time_field) if len(found) > size else ""
    return Rows(page, newer, older)


def _cursor(direction: str, row: Any, time_field: str) -> str:
    instant: datetime = getattr(row, time_field)
    text = json.dumps([direction, instant.isoformat(), str(row.pk)])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(cursor: str) -> tuple[str, datetime, str]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        direction, instant, key = json.loads(base64.urlsafe_b64decode(padded))
        if direction not in ("older", "newer") or "\x00" in str(key):
            raise ValueError(cursor)
        return direction, datetime.fromisoformat(instant), key
    except (ValueError, TypeError) as error:
        raise CursorExpired from error


def by_number(rows: QuerySet[Any], *, page: str, size: int) -> tuple[Sequence[Any], int]:
    """A page of a list in an order of its own, and its number from 1 on."""
    number = int(page) if page.isdecimal() and len(page) < 6 else 1
    number = max(number, 1)
    return list(rows[(number - 1) * size : number * size + 1]), number
