"""Pages of tables that grow without end, by the last row seen and not by its number: as fast at any depth.

A cursor names a row by its instant and its id. It is opaque and signed, and good only for the table and the order it
was made for. It says where to go on, never what may be seen: that is the query's own filters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from django.core import signing
from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import Model, Q, QuerySet, TextField
from django.db.models.functions import Cast

from apps.core.errors import InvalidRequest

M = TypeVar("M", bound=Model)
Direction = Literal["desc", "asc"]
COUNTED = 10_000
_MAX_CURSOR = 500
_RAW = "keyset_at"


class CursorInvalid(InvalidRequest):
    """The cursor was not made by us, not for this list, or before the secret key was changed."""

    code = "cursor_invalid"
    message = "This cursor is of no use here. Leave it out to begin at the first page."


@dataclass(frozen=True)
class Page(Generic[M]):
    """`rows` in the asked order. `next` and `prev` are cursors, None where the list ends."""

    rows: list[M]
    next: str | None
    prev: str | None


@dataclass(frozen=True)
class Count:
    """How many rows there are: `figure` of them, or more where it is not `is_exact`."""

    figure: int
    is_exact: bool


def page(
    queryset: QuerySet[M, M],
    *,
    cursor: str | None,
    size: int,
    direction: Direction = "desc",
    time: str = "created_at",
) -> Page[M]:
    """`size` rows by `time` and then id, newest first for `desc`, from the cursor on.

    One query, whatever the depth. `time` is a column of the table that is never NULL and never changes. The query's
    own order is dropped. Raises: CursorInvalid.
    """
    list_ = _List(queryset, direction, time)
    position = list_.read(cursor) if cursor else None
    back = position is not None and position.back
    found = list(list_.rows(position)[: size + 1])
    more = len(found) > size
    rows = found[:size]
    if back:
        rows.reverse()
    if not rows:
        return Page([], None, None)
    return Page(
        rows,
        next=list_.cursor(rows[-1], back=False) if more or back else None,
        prev=list_.cursor(rows[0], back=True) if (more if back else position is not None) else None,
    )


def count(queryset: QuerySet[M, M], *, most: int = COUNTED) -> Count:
    """How many rows a query has, exactly up to `most`. It reads at most one row more than that."""
    figure = queryset.order_by()[: most + 1].count()
    return Count(min(figure, most), figure <= most)


@dataclass(frozen=True)
class _Position:
    at: datetime | str
    id: Any
    back: bool


class _List(Generic[M]):
    """A query in one order, and the cursors into it."""

    def __init__(self, queryset: QuerySet[M, M], direction: Direction, time: str) -> None:
        self.model = queryset.model
        self.descending = direction == "desc"
        self.time = time
        # SQLite keeps instants as text, in other spellings when it wrote them itself ("…00.120") than when Django did
        # ("…00.120000"), so that the same instant read and sent back is no longer the same. There: the text itself.
        self.is_text = connections[queryset.db].vendor == "sqlite"
        self.column = _RAW if self.is_text else time
        self.queryset = queryset.annotate(**{_RAW: Cast(time, TextField())}) if self.is_text else queryset
        self.signer = signing.Signer(salt=f"keyset:{self.model._meta.label}:{time}:{direction}")

    def rows(self, position: _Position | None) -> QuerySet[M, M]:
        falling = self.descending != (position is not None and position.back)
        sign, beyond = ("-", "lt") if falling else ("", "gt")
        queryset = self.queryset.order_by(f"{sign}{self.column}", f"{sign}pk")
        if position is None:
            return queryset
        # The first condition is implied by the second: it is what lets both databases begin within the index.
        within = Q(**{f"{self.column}__{beyond}e": position.at})
        after = Q(**{f"{self.column}__{beyond}": position.at}) | Q(**{f"pk__{beyond}": position.id})
        return queryset.filter(within & after)

    def cursor(self, row: M, *, back: bool) -> str:
        at = getattr(row, self.column)
        return self.signer.sign_object(
            {"t": at if self.is_text else at.isoformat(), "i": str(row.pk), "b": int(back)}
        )

    def read(self, cursor: str) -> _Position:
        if len(cursor) > _MAX_CURSOR:
            raise CursorInvalid
        try:
            said: Mapping[str, Any] = self.signer.unsign_object(cursor)
            at = said["t"] if self.is_text else datetime.fromisoformat(said["t"])
            return _Position(at, self.model._meta.pk.to_python(said["i"]), bool(said["b"]))
        except (signing.BadSignature, ValidationError, ValueError, KeyError, TypeError):
            raise CursorInvalid from None
