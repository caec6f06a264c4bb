"""Lists: a page of rows with the true total, in an order that callers choose of a few, and the way to the next page.

Lists that are arrays (docs/api.md) say the rest in headers; others in `total`, `limit` and `offset`. Tables that grow
without end are counted up to a bound, and read on by a cursor.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.core.exceptions import FieldDoesNotExist
from django.db.models import F, Model, QuerySet
from django.db.models.expressions import OrderBy
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.fields import query_error
from apps.api.parsing import InvalidBody
from apps.core import keyset
from apps.core.errors import InvalidField

MAX_PAGE = 1000
M = TypeVar("M", bound=Model)
_TIME = "created_at"
GROUP_ORDERS = {"group_name": "name", "status": "status", "created_at": "created_at"}


@dataclass(frozen=True, slots=True)
class Found(Generic[M]):
    """A page. `total` counts every row that the filters leave; `links` are the URLs of the pages around it."""

    rows: list[M]
    total: int
    limit: int
    offset: int
    links: Mapping[str, str]

    def body(self, name: str, shown: Iterable[Any]) -> dict[str, Any]:
        """The page as an object, its rows under `name`."""
        return {"total": self.total, "limit": self.limit, "offset": self.offset, name: list(shown)}

    def array(self, shown: Iterable[Any]) -> Response:
        """The page as an array, the rest in `X-Total-Count` and `Link` (RFC 8288)."""
        return Response(list(shown), headers=self.headers())

    def headers(self) -> dict[str, str]:
        """The total, and relative links to the pages around this one."""
        links = ", ".join(f'<{url}>; rel="{rel}"' for rel, url in self.links.items())
        return {"X-Total-Count": str(self.total)} | ({"Link": links} if links else {})


def page(request: Request, *, default: int, most: int = MAX_PAGE) -> tuple[int, int]:
    """`limit` (capped) and `offset` of a list. Raises: InvalidField when they are no whole numbers."""
    figures = []
    for name, fallback, least in (("limit", default, 1), ("offset", 0, 0)):
        text = request.GET.get(name, str(fallback))
        if not text.isdecimal() or not text.isascii() or len(text) > 9 or int(text) < least:
            error = InvalidField(name, f"Input should be a whole number of at least {least}", value=text[:50])
            error.errors[0] |= {"loc": ["query", name], "type": "int_parsing"}
            raise error
        figures.append(int(text))
    return min(figures[0], most), figures[1]


def require_page(request: Request) -> None:
    """Refuse a wrong page before it is looked whose it would be. Raises: InvalidField."""
    page(request, default=1)


def listed(
    request: Request, queryset: QuerySet[M, M], *, default: int, orders: Mapping[str, str], total: int | None = None
) -> Found[M]:
    """A page of `queryset`, in its own order unless `order` names one of `orders` (by the wire's names, the columns).

    Two queries; one where the `total` is known. Raises: InvalidBody, InvalidField.
    """
    limit, offset = page(request, default=default)
    ordered = in_order(request, queryset, orders)
    count = queryset.order_by().count() if total is None else total
    rows = list(ordered[offset : offset + limit])
    return Found(rows, count, limit, offset, _links(request, limit, offset, count))


def in_order(request: Request, queryset: QuerySet[M, M], orders: Mapping[str, str]) -> QuerySet[M, M]:
    """The query in the order that `order` asks for: a name, falling with a minus before it. Empty values come last.

    Raises: InvalidBody for a name that is not among them, which are told.
    """
    asked = request.GET.get("order")
    if asked is None:
        return queryset
    if asked.removeprefix("-") not in orders:
        raise _unknown_order(asked, orders)
    return _ordered(queryset, asked, orders)


def _unknown_order(asked: str, known: Iterable[str]) -> InvalidBody:
    names = ", ".join(sorted(known))
    return query_error("order", f"Must be one of: {names}; with - before it falling", kind="enum", value=asked)


def _ordered(queryset: QuerySet[M, M], asked: str, orders: Mapping[str, str]) -> QuerySet[M, M]:
    falling = asked.startswith("-")
    return queryset.order_by(_by(queryset, orders[asked.removeprefix("-")], falling), "-pk" if falling else "pk")


def _by(queryset: QuerySet[M, M], column: str, falling: bool) -> OrderBy | str:
    if not _may_be_empty(queryset, column):
        # Plain, so that its index serves.
        return f"-{column}" if falling else column
    return F(column).desc(nulls_last=True) if falling else F(column).asc(nulls_last=True)


def _may_be_empty(queryset: QuerySet[M, M], column: str) -> bool:
    try:
        return bool(getattr(queryset.model._meta.get_field(column), "null", False))
    except FieldDoesNotExist:
        # An annotation, or a column of another table.
        return column in queryset.query.annotations


def long_listed(
    request: Request,
    queryset: QuerySet[M, M],
    *,
    name: str,
    show: Callable[[list[M]], Iterable[Any]],
    orders: Mapping[str, str] | None = None,
    default: int = 50,
) -> Response:
    """A page of a table that grows without end, the newest first, or with `order=created_at` the oldest.

    `total` is exact up to 10,000 (`total_is_exact`). `next_cursor` as `cursor` goes on at the same price however far;
    `offset` works too. Other `orders` are for what filters leave few of: up to 10,000. Two queries.
    Raises: InvalidBody, InvalidField, CursorInvalid.
    """
    limit, offset = page(request, default=default)
    cursor = request.GET.get("cursor") or None
    others = orders or {}
    order = _order_of(request)
    if order.removeprefix("-") not in (_TIME, *others):
        raise _unknown_order(order, (_TIME, *others))
    by_time = order.removeprefix("-") == _TIME
    if cursor is not None and ("offset" in request.GET or not by_time):
        raise query_error("cursor", f"A cursor is for the order by {_TIME}, without an offset", value=cursor)
    count = keyset.count(queryset)
    if not by_time and not count.is_exact:
        raise query_error("order", f"More than {count.figure} rows: narrow them, or order by {_TIME}", value=order)
    if by_time and not offset:
        found = keyset.page(queryset, cursor=cursor, size=limit, direction="desc" if order.startswith("-") else "asc")
    else:
        ordered = _ordered(queryset, order, {_TIME: _TIME, **others})
        found = keyset.Page(list(ordered[offset : offset + limit]), None, None)
    return Response(
        {
            "total": count.figure,
            "total_is_exact": count.is_exact,
            "limit": limit,
            "offset": None if cursor else offset,
            name: list(show(found.rows)),
            "next_cursor": found.next,
            "prev_cursor": found.prev,
        }
    )


def _order_of(request: Request) -> str:
    """`order`; or in older words `sort_by` with `order` asc or desc. Raises: InvalidBody."""
    order, column = request.GET.get("order"), request.GET.get("sort_by")
    if column is None and order not in ("asc", "desc"):
        return order or f"-{_TIME}"
    if order not in (None, "asc", "desc"):
        raise query_error("order", "With sort_by it must be asc or desc", kind="enum", value=order)
    return f"{'' if order == 'asc' else '-'}{column or _TIME}"


def _links(request: Request, limit: int, offset: int, total: int) -> dict[str, str]:
    links = {}
    if offset + limit < total:
        links["next"] = _url(request, limit, offset + limit)
    if offset:
        links["prev"] = _url(request, limit, max(0, offset - limit))
    return links


def _url(request: Request, limit: int, offset: int) -> str:
    """Relative, as behind a proxy nobody knows by which name we were called."""
    query = request.GET.copy()
    query["limit"], query["offset"] = str(limit), str(offset)
    return f"{request.path}?{query.urlencode()}"
