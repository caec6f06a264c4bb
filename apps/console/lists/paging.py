"""Pages of lists: by key for what grows without end, by number for what people made by hand. Counts are bounded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from apps.core import keyset


@dataclass(frozen=True, slots=True)
class Rows:
    """A page: its rows, newest first, and the cursors of its neighbours; empty where there is none."""

    rows: Sequence[Any]
    newer: str
    older: str


def by_key(rows: QuerySet[Any], *, time_field: str, cursor: str, size: int) -> Rows:
    """A page by (time, id), newest first; the first one where the cursor's has gone. Raises: CursorInvalid."""
    page = keyset.page(rows, cursor=cursor or None, size=size, time=time_field)
    is_short = cursor and page.prev is None and len(page.rows) < size
    if is_short:
        # Going back ended before a whole page: the first page is whole, whatever came meanwhile.
        page = keyset.page(rows, cursor=None, size=size, time=time_field)
    return Rows(page.rows, page.prev or "", page.next or "")


def by_number(rows: QuerySet[Any], *, page: str, size: int) -> tuple[Sequence[Any], int]:
    """A page of a list in an order of its own, and its number from 1 on."""
    number = int(page) if page.isdecimal() and len(page) < 6 else 1
    number = max(number, 1)
    return list(rows[(number - 1) * size : number * size + 1]), number
