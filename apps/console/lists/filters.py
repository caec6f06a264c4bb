"""Filters of a list, each from the query string to the rows and to a chip. A value that means nothing is said."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from django.http import QueryDict
from django.utils import timezone

from apps.console import formats
from apps.core.ids import parse_uuid
from apps.organizations.models import Organization
from apps.teams.models import Team


class Ignored(ValueError):
    """Raised for a value that cannot be a filter's; the text completes "Ignored: …"."""


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter in force as the page shows it. `names` are its parameters, that its cross drops."""

    label: str
    value: str
    names: Sequence[str]
    is_wrong: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter: `apply` narrows the rows and returns the chip's text. Raises: Ignored."""

    name: str
    label: str
    help: str = ""
    kind: ClassVar[str] = "text"

    @property
    def names(self) -> Sequence[str]:
        return (self.name,)

    def is_given(self, given: QueryDict) -> bool:
        return any(given.get(name, "").strip() for name in self.names)

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        raise NotImplementedError

    def value(self, given: QueryDict) -> str:
        return given.get(self.name, "").strip()


@dataclass(frozen=True, slots=True)
class Exact(Filter):
    """A text that a column equals. `lookup` is a Django lookup; NUL is in no column."""

    lookup: str = ""
    suggest: str = ""

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        value = self.value(given)
        if "\x00" in value or len(value) > 300:
            raise Ignored("no text that could be found")
        return rows.filter(**{self.lookup or self.name: value}), value


@dataclass(frozen=True, slots=True)
class Known(Filter):
    """A public id that `find` knows: a team, an organization. An unknown one is said instead of finding nothing."""

    find: Callable[[str], Any] = lambda value: None
    lookup: str = ""
    noun: str = ""

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        value = self.value(given)
        found = None if "\x00" in value else self.find(value)
        if found is None:
            raise Ignored(f"no {self.noun or self.label.lower()} {value[:60]!r}")
        return rows.filter(**{self.lookup or self.name: found}), value


@dataclass(frozen=True, slots=True)
class Choice(Filter):
    """One of a few values. `choices` are (value, label); `conditions` may say what a value means."""

    choices: Sequence[tuple[str, str]] = ()
    lookup: str = ""
    conditions: Callable[[str], Q] | None = None
    kind: ClassVar[str] = "choice"

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        value = self.value(given)
        label = dict(self.choices).get(value)
        if label is None:
            raise Ignored(f"no {self.label.lower()} {value[:60]!r}")
        condition = self.conditions(value) if self.conditions else Q(**{self.lookup or self.name: value})
        return rows.filter(condition), label


@dataclass(frozen=True, slots=True)
class Uuid(Filter):
    """An id of ours."""

    lookup: str = ""

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        value = parse_uuid(self.value(given))
        if value is None:
            raise Ignored(f"{self.value(given)[:60]!r} is no id")
        return rows.filter(**{self.lookup or self.name: value}), str(value)


@dataclass(frozen=True, slots=True)
class Between(Filter):
    """Amounts from and to, both ends optional. `per` is how many of the column's units one typed unit is."""

    field: str = ""
    per: int = 1
    kind: ClassVar[str] = "between"

    @property
    def names(self) -> Sequence[str]:
        return (f"{self.name}_from", f"{self.name}_to")

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        low, high = (self._amount(given.get(name, "").strip()) for name in self.names)
        if low is not None:
            rows = rows.filter(**{f"{self.field}__gte": self.of(low)})
        if high is not None:
            rows = rows.filter(**{f"{self.field}__lte": self.of(high)})
        first, last = (given.get(name, "").strip() for name in self.names)
        return rows, f"{first or '…'} to {last or '…'}"

    def of(self, amount: int) -> Any:
        """As the column compares it."""
        return amount

    def _amount(self, text: str) -> int | None:
        if not text:
            return None
        try:
            amount = Decimal(text.replace(",", "")) * self.per
            if not amount.is_finite() or abs(amount) >= 2**62:
                raise InvalidOperation
            return int(amount)
        except InvalidOperation:
            raise Ignored(f"{text[:60]!r} is no amount") from None


@dataclass(frozen=True, slots=True)
class Within(Filter):
    """Instants or days from and to, of another column than the list's time: when jobs closed, when calls ended.

    The start is in it; of days so is the end, an instant at the end is not.
    """

    field: str = ""
    kind: ClassVar[str] = "between"

    @property
    def names(self) -> Sequence[str]:
        return (f"{self.name}_from", f"{self.name}_to")

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        first, last = (given.get(name, "").strip() for name in self.names)
        start, end = _edge(first, is_end=False), _edge(last, is_end=True)
        shown = " to ".join(_spelled(text, edge) for text, edge in ((first, start), (last, end)))
        return Range(start, end, "").within(rows, self.field), f"{shown}, {timezone.get_current_timezone_name()}"


def _spelled(text: str, edge: datetime | None) -> str:
    """A day as it was typed, an instant in the viewer's zone, nothing as open."""
    return text or "…" if edge is None or len(text) == 10 else formats.clock(edge)


PRESETS: dict[str, tuple[str, timedelta]] = {
    "1h": ("last hour", timedelta(hours=1)),
    "24h": ("last 24 hours", timedelta(hours=24)),
    "7d": ("last 7 days", timedelta(days=7)),
    "30d": ("last 30 days", timedelta(days=30)),
    "90d": ("last 90 days", timedelta(days=90)),
}
MONTHS = {"month": "this month", "last-month": "last month"}


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of time: `start` is in it, `end` is not; either may be open. `words` are the chip's."""

    start: datetime | None
    end: datetime | None
    words: str

    def within(self, rows: QuerySet[Any], field: str) -> QuerySet[Any]:
        if self.start is not None:
            rows = rows.filter(**{f"{field}__gte": self.start})
        if self.end is not None:
            rows = rows.filter(**{f"{field}__lt": self.end})
        return rows


def time_range(given: QueryDict, default: str) -> Range:
    """What `range`, or `from` and `to`, say. Days are the viewer's and the last one is included; instants are exact.

    Raises: Ignored.
    """
    if given.get("from", "").strip() or given.get("to", "").strip():
        return _custom(given.get("from", "").strip(), given.get("to", "").strip())
    name = given.get("range", "").strip() or default
    zone = timezone.get_current_timezone_name()
    if name == "all":
        return Range(None, None, "all time")
    if name in PRESETS:
        words, length = PRESETS[name]
        return Range(timezone.now() - length, None, words)
    if name in MONTHS:
        first = timezone.localtime().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        if name == "month":
            return Range(first, None, f"this month, {zone}")
        before = (first - timedelta(days=1)).replace(day=1)
        return Range(before, first, f"last month, {zone}")
    raise Ignored(f"no range {name[:60]!r}")


def _custom(first: str, last: str) -> Range:
    start, end = _edge(first, is_end=False), _edge(last, is_end=True)
    if start and end and start >= end:
        raise Ignored("the range ends before it begins")
    words = f"{first or '…'} to {last or '…'}, {timezone.get_current_timezone_name()}"
    return Range(start, end, words)


def _edge(text: str, *, is_end: bool) -> datetime | None:
    if not text:
        return None
    try:
        if len(text) == 10:
            day = date.fromisoformat(text) + timedelta(days=1 if is_end else 0)
            return timezone.make_aware(datetime.combine(day, time()))
        instant = datetime.fromisoformat(text)
        return (instant if instant.tzinfo else timezone.make_aware(instant)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Ignored(f"{text[:60]!r} is no day such as 2026-11-24") from None


ORGANIZATION = Known(
    "organization", "Organization", find=lambda value: Organization.objects.filter(organization_id=value).first()
)
TEAM = Known("team", "Team", find=lambda value: Team.objects.filter(team_id=value).first())
