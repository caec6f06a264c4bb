"""A list: search, filters as chips, a bounded count, pages that stay fast at any depth, and the same rows as CSV.

Its whole state is its query string. Nothing is ignored silently: a filter that means nothing is a red chip.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django.db import OperationalError, connection, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from apps.console.lists import paging
from apps.console.lists.columns import Column
from apps.console.lists.filters import MONTHS, PRESETS, Chip, Filter, Ignored, Range, time_range
from apps.console.pages.base import Page
from apps.core import audit, keyset
from apps.core.admin_base import actor_of
from apps.core.keyset import CursorInvalid
from apps.core.spreadsheets import CONTENT_TYPE, lines
from apps.organizations import rights
from apps.organizations.rights import Right

SIZES = (25, 50, 100)
_EXPORT_AT_ONCE = 500
_STATEMENT_TIMEOUT_MS = 2000


@dataclass(frozen=True, slots=True)
class Empty:
    """What an empty list says when nothing exists yet: a sentence, and the next step as a link."""

    sentence: str
    next_label: str = ""
    next_url: str = ""


@dataclass(slots=True)
class Narrowed:
    """The rows after search, filters and time, and what was understood of them."""

    rows: QuerySet[Any]
    chips: list[Chip]
    range: Range | None


class ListPage(Page):
    """Subclasses name the rows, columns and filters.

    With `time_field` the newest come first, page by page by key, within `default_range`; without it `ordering` holds
    and pages are numbered. Columns with an `order` may be sorted by, in numbered lists and while the count is exact.
    """

    template_name = "console/lists/list.html"
    noun: ClassVar[str]
    line: ClassVar[str] = ""
    columns: ClassVar[Sequence[Column]]
    filters: ClassVar[Sequence[Filter]] = ()
    time_field: ClassVar[str] = ""
    default_range: ClassVar[str] = "all"
    ordering: ClassVar[Sequence[str]] = ("pk",)
    search_help: ClassVar[str] = ""
    empty: ClassVar[Empty] = Empty("Nothing here yet.")
    export_name: ClassVar[str] = "rows"

    def get_rows(self) -> QuerySet[Any]:
        """All rows of the list with what the columns read, in a constant number of queries."""
        raise NotImplementedError

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        """The rows that a term finds; only called when `search_help` is set."""
        return rows

    def decorate(self, rows: Sequence[Any]) -> None:
        """Load what the page's rows need besides, for all of them at once."""

    def before_table(self, narrowed: Narrowed) -> dict[str, Any]:
        """Context of the template `before_template`."""
        return {}

    before_template: ClassVar[str] = ""

    def get_context(self, **kwargs: Any) -> dict[str, Any]:
        narrowed = self.narrow()
        try:
            with transaction.atomic():
                _bound_statements()
                return self.page_of(narrowed)
        except OperationalError:
            if connection.vendor != "postgresql":
                raise
            return self.shell(narrowed) | {"is_too_wide": True, "table": []}

    def narrow(self) -> Narrowed:
        given = self.request.GET
        rows, chips = self.get_rows(), []
        term = given.get("q", "").strip()
        if term and self.search_help:
            rows = rows.none() if "\x00" in term else self.search(rows, term[:300])
            chips.append(Chip("search", term[:60], ("q",)))
        for each in self.filters:
            if not each.is_given(given):
                continue
            try:
                rows, words = each.apply(rows, given)
                chips.append(Chip(each.label, words, each.names))
            except Ignored as error:
                chips.append(Chip("Ignored", str(error), each.names, is_wrong=True))
        span = None
        if self.time_field:
            try:
                span = time_range(given, self.default_range)
            except Ignored as error:
                chips.append(Chip("Ignored", str(error), ("range", "from", "to"), is_wrong=True))
                span = time_range(given.__class__(""), self.default_range)
            rows = span.within(rows, self.time_field)
        return Narrowed(rows, chips, span)

    def shell(self, narrowed: Narrowed) -> dict[str, Any]:
        """Everything around the table."""
        given = self.request.GET
        return {
            "line": self.line,
            "noun": self.noun,
            "columns": self.columns,
            "filters": [(each, [given.get(name, "") for name in each.names]) for each in self.filters],
            "chips": narrowed.chips,
            "range": narrowed.range,
            "ranges": [*((key, words) for key, (words, _) in PRESETS.items()), *MONTHS.items(), ("all", "all time")],
            "range_name": "" if given.get("from") or given.get("to") else given.get("range") or self.default_range,
            "term": given.get("q", ""),
            "search_help": self.search_help,
            "may_export": self.operator.holds(Right.EXPORT),
            "empty": self.empty,
            "size": self.size(),
            "sizes": SIZES,
            "before_template": self.before_template,
        }

    def page_of(self, narrowed: Narrowed) -> dict[str, Any]:
        counted = keyset.count(narrowed.rows)
        total, is_exact = counted.figure, counted.is_exact
        context = self.shell(narrowed) | {"total": total, "is_exact": is_exact, "order": ""}
        if self.before_template:
            context |= self.before_table(narrowed)
        order = self.order() if is_exact else ""
        if self.time_field and not order:
            rows = self.keyed(narrowed, context)
        else:
            rows = self.numbered(narrowed, context, order)
        self.decorate(rows)
        context["table"] = [[(column, column.show(row)) for column in self.columns] for row in rows]
        if not rows:
            context |= self.why_empty(narrowed)
        return context

    def keyed(self, narrowed: Narrowed, context: dict[str, Any]) -> Sequence[Any]:
        cursor = self.request.GET.get("cursor", "")
        try:
            page = paging.by_key(narrowed.rows, time_field=self.time_field, cursor=cursor, size=self.size())
        except CursorInvalid:
            context["notice"] = "That page is no longer there; this is the first one."
            page = paging.by_key(narrowed.rows, time_field=self.time_field, cursor="", size=self.size())
        context |= {"newer": {"cursor": page.newer}, "older": {"cursor": page.older}}
        context["has_newer"], context["has_older"] = bool(page.newer), bool(page.older)
        context["is_first_page"] = not page.newer
        return page.rows

    def numbered(self, narrowed: Narrowed, context: dict[str, Any], order: str) -> Sequence[Any]:
        ordering = (order, "pk") if order else self.ordering
        size = self.size()
        found, number = paging.by_number(
            narrowed.rows.order_by(*ordering), page=self.request.GET.get("page", ""), size=size
        )
        context |= {
            "order": order,
            "has_newer": number > 1,
            "has_older": len(found) > size,
            "newer": {"page": number - 1},
            "older": {"page": number + 1},
            "first_number": (number - 1) * size + 1,
        }
        return found[:size]

    def order(self) -> str:
        """The order that was asked for, if a column has it."""
        asked = self.request.GET.get("order", "")
        return asked if asked.removeprefix("-") in {column.order for column in self.columns if column.order} else ""

    def size(self) -> int:
        asked = self.request.GET.get("rows", "")
        return int(asked) if asked.isdecimal() and int(asked[:6]) in SIZES else 50

    def why_empty(self, narrowed: Narrowed) -> dict[str, Any]:
        """Nothing exists, nothing matches, or nothing in this time: each with what to do."""
        filters = [chip for chip in narrowed.chips if not chip.is_wrong]
        if filters:
            return {"why_empty": "filters", "filters_in_force": filters}
        if narrowed.range is not None and narrowed.range.start is not None:
            last = self.get_rows().order_by(f"-{self.time_field}").first()
            if last is not None:
                return {"why_empty": "range", "last_one": getattr(last, self.time_field)}
        return {"why_empty": "nothing"}

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        """The rows of all pages under the filters, as CSV. Leaves an audit row. Raises: RightMissing."""
        rights.require(self.operator.role, Right.EXPORT)
        narrowed = self.narrow()
        audit.record(
            "export",
            actor=actor_of(request),
            kind="list",
            id=self.export_name,
            after={"query": request.GET.urlencode()[:2000]},
        )
        answer = StreamingHttpResponse(
            lines([column.label for column in self.columns], self._exported(narrowed.rows)), content_type=CONTENT_TYPE
        )
        answer["Content-Disposition"] = f'attachment; filename="{self.export_name}.csv"'
        answer["X-Content-Type-Options"] = "nosniff"
        return answer

    def _exported(self, rows: QuerySet[Any]) -> Iterator[list[Any]]:
        cursor = ""
        number = 1
        while True:
            if self.time_field:
                page = paging.by_key(rows, time_field=self.time_field, cursor=cursor, size=_EXPORT_AT_ONCE)
                found, cursor = page.rows, page.older
            else:
                ordered = rows.order_by(*self.ordering)
                taken, _ = paging.by_number(ordered, page=str(number), size=_EXPORT_AT_ONCE)
                found, cursor, number = taken[:_EXPORT_AT_ONCE], "more" * (len(taken) > _EXPORT_AT_ONCE), number + 1
            self.decorate(found)
            for row in found:
                yield [column.export(row) for column in self.columns]
            if not cursor:
                return


def _bound_statements() -> None:
    """No list may hold a connection for long; on SQLite nobody else waits for it."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {_STATEMENT_TIMEOUT_MS}")


def prefix_or_word(term: str, *, starts: Sequence[str], contains: Sequence[str]) -> Q:
    """A search over a few columns: from the start of some, anywhere in others."""
    found = Q()
    for field in starts:
        found |= Q(**{f"{field}__istartswith": term})
    for field in contains:
        found |= Q(**{f"{field}__icontains": term})
    return found
