"""The strip above a list of what grows without end: how many rows a stretch of time, by outcome. Each bar narrows
the list to exactly its rows.

One grouped query over the newest rows up to the count's bound, so that it costs the same however wide the time is.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, Func, IntegerField, Max, Min, QuerySet, Value
from django.db.models.expressions import Combinable
from django.http import QueryDict
from django.utils import timezone

from apps.console import formats
from apps.console.charts import Chart, Series
from apps.console.lists.filters import Range
from apps.core.keyset import COUNTED as COUNT_MAX

_BARS_MAX = 48
# Stretches of time, in seconds and in words.
_SIZES = {
    60: "minute",
    300: "5 minutes",
    900: "15 minutes",
    1800: "30 minutes",
    3600: "hour",
    3 * 3600: "3 hours",
    6 * 3600: "6 hours",
    12 * 3600: "12 hours",
    86_400: "day",
    7 * 86_400: "7 days",
    30 * 86_400: "30 days",
}


class _Bucket(Func):
    """The number of an instant's stretch of `size` seconds since 1970."""

    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **more: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="(CAST(strftime('%%%%s', %(expressions)s) AS INTEGER))", **more
        )

    def as_postgresql(self, compiler: Any, connection: Any, **more: Any) -> Any:
        template = "(FLOOR(EXTRACT(EPOCH FROM %(expressions)s))::bigint)"
        return self.as_sql(compiler, connection, template=template, **more)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A series: the value of the rows, its word, and its colour on every page."""

    value: str
    label: str
    color: int


def strip(
    rows: QuerySet[Any],
    *,
    time_field: str,
    by: Combinable,
    outcomes: Sequence[Outcome],
    span: Range,
    given: QueryDict,
    noun: str,
) -> Chart:
    """Bars of the newest rows by outcome. Other values of `by` than those of `outcomes` count as one."""
    newest = rows.order_by(f"-{time_field}", "-pk").values("pk")[:COUNT_MAX]
    bounded = rows.model._default_manager.filter(pk__in=newest).order_by()
    start, end = _edges(bounded, time_field, span)
    size = next((each for each in _SIZES if (end - start).total_seconds() / each <= _BARS_MAX), max(_SIZES))
    first = int(start.timestamp()) // size
    last = max(first, min(int((end - timedelta(microseconds=1)).timestamp()) // size, first + 4 * _BARS_MAX))
    found = _counted(bounded, time_field, by, size)
    known = {each.value for each in outcomes}
    others = [number for (_, value), number in found.items() if value not in known]
    shown = [*outcomes, *([Outcome("", "other", 8)] if others else [])]
    places = range(first, last + 1)
    series = [_series(each, places, found, known) for each in shown]
    total = sum(found.values())
    capped = f" The newest {COUNT_MAX:,} are drawn." if total >= COUNT_MAX else ""
    said = f"{total:,} {noun}, {span.words}: {_in_words(series)}.{capped}"
    return Chart(
        id="strip",
        title=f"{noun.capitalize()} by outcome",
        kind="stacked",
        labels=[_label(place * size, size) for place in places],
        series=[each for each in series if any(each.values)],
        summary=said,
        links=[_link(given, place * size, size, start) for place in places],
        unit=f"per {_SIZES[size]}",
        note=f"{said} A bar opens its rows.",
        empty=f"No {noun} to draw.",
        height=130,
    )


def _edges(rows: QuerySet[Any], time_field: str, asked: Range) -> tuple[datetime, datetime]:
    now = timezone.now()
    if asked.start is not None:
        return asked.start, max(asked.end or now, asked.start + timedelta(seconds=1))
    told = rows.aggregate(first=Min(time_field), last=Max(time_field))
    first, last = told["first"] or now, told["last"] or now
    return first, last + timedelta(seconds=1)


def _counted(rows: QuerySet[Any], time_field: str, by: Combinable, size: int) -> dict[tuple[int, str], int]:
    bucket = _Bucket(time_field) / Value(size)
    counts = rows.annotate(bucket=bucket, outcome=by).values_list("bucket", "outcome").annotate(number=Count("pk"))
    found: dict[tuple[int, str], int] = defaultdict(int)
    for place, value, number in counts:
        found[int(place), value] += number
    return found


def _series(outcome: Outcome, places: Sequence[int], found: dict[tuple[int, str], int], known: set[str]) -> Series:
    if outcome.value:
        values = [found.get((place, outcome.value), 0) for place in places]
    else:
        values = [
            sum(n for (at, value), n in found.items() if at == place and value not in known) for place in places
        ]
    return Series(outcome.label, values, [formats.count(value) for value in values], outcome.color)


def _in_words(series: Sequence[Series]) -> str:
    sums = [(each.label, sum(int(value or 0) for value in each.values)) for each in series]
    return ", ".join(f"{number:,} {label}" for label, number in sums if number) or "none"


def _label(start_s: int, size: int) -> str:
    local = timezone.localtime(datetime.fromtimestamp(start_s, UTC))
    day = f"{local.day} {local:%b}"
    return day if size >= 86_400 else f"{day} {local:%H:%M}"


def _link(given: QueryDict, start_s: int, size: int, not_before: datetime) -> str:
    """The list of exactly the bar's rows: the first bar begins where the time asked for does."""
    asked = given.copy()
    for name in ("range", "cursor", "page", "from", "to"):
        asked.pop(name, None)
    start = datetime.fromtimestamp(start_s, UTC)
    asked["from"] = max(start, not_before.astimezone(UTC)).isoformat()
    asked["to"] = (start + timedelta(seconds=size)).isoformat()
    return f"?{asked.urlencode()}"
