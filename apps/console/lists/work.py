"""What the lists of work share: filters that no index serves look at 31 days at most, and say so."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from django.db.models import Q, QuerySet, TextField
from django.db.models.expressions import Combinable
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast
from django.http import QueryDict
from django.utils import timezone

from apps.console.lists.base import ListPage, Narrowed
from apps.console.lists.filters import Between, Chip, Filter, Ignored, Range
from apps.console.lists.strip import Outcome, strip

UNINDEXED_DAYS_MAX = 31
_LONGEST_US = 10**15
_LONGEST = timedelta(days=UNINDEXED_DAYS_MAX)


class WorkList(ListPage):
    """A list by time. `indexed` names the filters that an index with the time serves."""

    indexed: ClassVar[frozenset[str]] = frozenset({"team", "organization", "closed", "ended"})
    outcomes: ClassVar[Sequence[Outcome]]

    def outcome(self) -> Combinable:
        """By what the strip above the table divides the rows: an expression for the key of one of `outcomes`."""
        raise NotImplementedError

    def before_table(self, narrowed: Narrowed) -> dict[str, Any]:
        assert narrowed.range is not None
        drawn = strip(
            narrowed.rows,
            time_field=self.time_field,
            by=self.outcome(),
            outcomes=self.outcomes,
            span=narrowed.range,
            given=self.request.GET,
            noun=self.noun,
        )
        return {"strip": drawn}

    def narrow(self) -> Narrowed:
        narrowed = super().narrow()
        if not self.is_unindexed() or narrowed.range is None:
            return narrowed
        bound = _bounded(narrowed.range)
        if bound is narrowed.range:
            return narrowed
        said = f"the time before {bound.words}: these filters look at {UNINDEXED_DAYS_MAX} days at most"
        narrowed.chips.append(Chip("Ignored", said, ("range", "from", "to"), is_wrong=True))
        return Narrowed(bound.within(narrowed.rows, self.time_field), narrowed.chips, bound)

    def is_unindexed(self) -> bool:
        """Whether rows are looked through one after the other for what is asked."""
        given = self.request.GET
        names = {each.name for each in self.filters if each.is_given(given)}
        if given.get("q", "").strip() and self.search_help:
            names.add("q")
        return bool(names) and not names & self.indexed


def _bounded(span: Range) -> Range:
    end = span.end or timezone.now()
    start = end - _LONGEST
    if span.start is not None and span.start >= start - timedelta(seconds=1):
        return span
    return Range(start, span.end, f"{timezone.localtime(start):%Y-%m-%d %H:%M}")


@dataclass(frozen=True, slots=True)
class Metadata(Filter):
    """A key of a JSON object and its value, as `key=value`."""

    field: str = "metadata"

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        key, equals, value = self.value(given).partition("=")
        if not equals or not key.strip() or "\x00" in self.value(given) or '"' in key:
            raise Ignored("metadata is asked for as key=value")
        text = Cast(KeyTextTransform(key.strip(), self.field), TextField())
        return rows.annotate(metadata_value=text).filter(metadata_value=_as_stored(value.strip())), self.value(given)


def _as_stored(value: str) -> str:
    """As the databases write a JSON value that is no text."""
    try:
        return json.dumps(json.loads(value)) if value[:1] in "[{" else value
    except ValueError:
        return value


@dataclass(frozen=True, slots=True)
class Lasting(Between):
    """Seconds from and to of a duration."""

    per: int = 1_000_000

    def of(self, amount: int) -> Any:
        return timedelta(microseconds=min(amount, _LONGEST_US))


@dataclass(frozen=True, slots=True)
class Condition(Filter):
    """A text that `find` makes a condition of."""

    find: Callable[[str], Q] = lambda value: Q()

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        value = self.value(given)
        if "\x00" in value or len(value) > 300:
            raise Ignored("no text that could be found")
        return rows.filter(self.find(value)), value


YES_NO: Sequence[tuple[str, str]] = (("yes", "yes"), ("no", "no"))
