"""Sums of rollups for a span and what they say. The one way in which pages read rollups."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q, QuerySet, Sum

from apps.analytics.models import Bucket, LatencyBucket, Level, RefusalBucket
from apps.analytics.ranges import Range
from apps.analytics.rollups import DAY, day_of, filled_until
from apps.analytics.slots import Slot
from apps.core.money import MICROS


@dataclass(frozen=True, slots=True)
class Filters:
    """Which of all is looked at. Ids are primary keys; None: all."""

    organization: int | None = None
    team: int | None = None
    job_type: str | None = None
    model: str | None = None

    @property
    def is_of_tenants(self) -> bool:
        return self.organization is not None or self.team is not None

    @property
    def is_of_work(self) -> bool:
        """What is sold and what expires is of no job type and of no model: under these filters there is none."""
        return self.job_type is not None or self.model is not None

    def q(self) -> Q:
        """As a condition on rollups."""
        wanted = {each.name: getattr(self, each.name) for each in fields(self)}
        return Q(**{name: value for name, value in wanted.items() if value is not None})


@dataclass(slots=True)
class Sums:
    """Figures of `Bucket`, added up."""

    jobs_completed: int = 0
    jobs_failed: int = 0
    jobs_cancelled: int = 0
    lost_cost_nanousd: int = 0
    calls_succeeded: int = 0
    calls_failed: int = 0
    calls_cancelled: int = 0
    calls_expired: int = 0
    unpriced_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    provider_cost_nanousd: int = 0
    sold_micros: int = 0
    given_micros: int = 0
    taken_back_micros: int = 0
    charged_micros: int = 0
    refunded_micros: int = 0
    expired_micros: int = 0
    revenue_nanousd: int = 0
    estimated_micros: int = 0

    @property
    def jobs(self) -> int:
        return self.jobs_completed + self.jobs_failed + self.jobs_cancelled

    @property
    def calls(self) -> int:
        return self.calls_succeeded + self.errors + self.calls_cancelled

    @property
    def errors(self) -> int:
        """Calls that failed or expired. Who cancels a call has met no error."""
        return self.calls_failed + self.calls_expired

    @property
    def spent_micros(self) -> int:
        return self.charged_micros - self.refunded_micros

    @property
    def earned_nanousd(self) -> int:
        """Revenue, with the list price where none is known."""
        return self.revenue_nanousd + self.estimated_micros * settings.CREDIT_LIST_PRICE_NANOUSD // MICROS

    @property
    def is_estimated(self) -> bool:
        return self.estimated_micros != 0

    @property
    def cost_nanousd(self) -> int:
        """What providers took, for what was served and for what was lost."""
        return self.provider_cost_nanousd + self.lost_cost_nanousd

    @property
    def margin_nanousd(self) -> int:
        return self.earned_nanousd - self.cost_nanousd

    def add(self, figures: Mapping[str, Any]) -> None:
        """Count more in, by name; other names are left alone."""
        for name in NAMES:
            setattr(self, name, getattr(self, name) + figures[name])


NAMES = tuple(each.name for each in fields(Sums))
_SUMS = {name: Sum(name) for name in NAMES}


@dataclass(frozen=True, slots=True)
class Compared:
    """A span and the one before."""

    now: Sums = field(default_factory=Sums)
    before: Sums = field(default_factory=Sums)


def totals(span: Range, filters: Filters) -> Compared:
    """Sums of the span and of the one before. One query."""
    found = Compared()
    rows = _rows(Bucket, span, filters, _both(span)).values(slot=_slot_of_both(span)).annotate(**_SUMS)
    for row in rows:
        (found.now if row["slot"] == _NOW else found.before).add(row)
    return found


def points(span: Range, filters: Filters) -> list[Sums]:
    """Sums for each point of the span. One query."""
    found = [Sums() for _ in span.points]
    rows = _rows(Bucket, span, filters, _within(span.since, span.until))
    for row in rows.values(slot=Slot("starts_at", span.points)).annotate(**_SUMS):
        found[row["slot"]].add(row)
    return found


def groups(dimension: str, span: Range, filters: Filters) -> dict[Any, Sums]:
    """Sums of the span by team (its primary key), job_type or model. Two queries."""
    found: dict[Any, Sums] = {}
    for row in _group_rows(dimension, span, filters).values(group=models.F(dimension)).annotate(**_SUMS):
        found.setdefault(row["group"], Sums()).add(row)
    return found


def latencies(span: Range, filters: Filters) -> tuple[dict[int, int], dict[int, int]]:
    """Calls by the bound of their latency, in the span and in the one before. One query."""
    found: tuple[dict[int, int], dict[int, int]] = ({}, {})
    rows = _rows(LatencyBucket, span, filters, _both(span)).values_list(_slot_of_both(span), "from_ms")
    for slot, from_ms, calls in rows.annotate(Sum("calls")):
        found[0 if slot == _NOW else 1][from_ms] = calls
    return found


def latency_points(span: Range, filters: Filters) -> list[dict[int, int]]:
    """Calls by the bound of their latency, for each point. One query."""
    found: list[dict[int, int]] = [{} for _ in span.points]
    rows = _rows(LatencyBucket, span, filters, _within(span.since, span.until))
    for slot, from_ms, calls in rows.values_list(Slot("starts_at", span.points), "from_ms").annotate(Sum("calls")):
        found[slot][from_ms] = calls
    return found


def refusals(span: Range, filters: Filters) -> tuple[int, int]:
    """How many calls were refused, in the span and in the one before. One query."""
    rows = _rows(RefusalBucket, span, filters, _both(span)).values_list(_slot_of_both(span)).annotate(Sum("refusals"))
    by_slot = dict(rows)
    return by_slot.get(_NOW, 0), by_slot.get(_BEFORE, 0)


def refusal_points(span: Range, filters: Filters) -> list[dict[str, int]]:
    """Refusals by code, for each point. One query."""
    found: list[dict[str, int]] = [{} for _ in span.points]
    rows = _rows(RefusalBucket, span, filters, _within(span.since, span.until))
    for slot, code, count in rows.values_list(Slot("starts_at", span.points), "code").annotate(Sum("refusals")):
        found[slot][code] = count
    return found


_BEFORE, _NOW = 0, 2


def _both(span: Range) -> Q:
    return _within(span.before_since, span.before_until) | _within(span.since, span.until)


def _slot_of_both(span: Range) -> Slot:
    return Slot("starts_at", (span.before_since, span.before_until, span.since))


def _within(since: datetime, until: datetime) -> Q:
    return Q(starts_at__gte=since, starts_at__lt=until)


def _rows(
    table: type[models.Model], span: Range, filters: Filters, when: Q, *, is_by_work: bool = False
) -> QuerySet[Any, Any]:
    """The fewest rows that tell: of hours where the span has whole ones, of all work where nobody asks for some."""
    if filters.is_of_tenants:
        level = Level.TEAM
    elif not span.is_of_hours:
        level = Level.PLATFORM
    else:
        level = Level.HOUR if filters.is_of_work or is_by_work else Level.HOUR_IN_ALL
    return table._default_manager.order_by().filter(filters.q(), when, level=level)


def _group_rows(dimension: str, span: Range, filters: Filters) -> QuerySet[Any, Any]:
    """Of teams, the days of UTC that lie in the span whole and are summed up; the quarters at its ends."""
    if dimension != "team":
        return _rows(Bucket, span, filters, _within(span.since, span.until), is_by_work=True)
    filled = filled_until()
    first = day_of(span.since) if day_of(span.since) == span.since else day_of(span.since) + DAY
    last = day_of(min(span.until, filled)) if filled else first
    level = Level.DAY if filters.is_of_work else Level.DAY_IN_ALL
    wanted = Q(_within(first, max(first, last)), level=level)
    for since, until in _ends(span, first, last):
        wanted |= Q(_within(since, until), level=Level.TEAM)
    return Bucket.objects.order_by().filter(wanted, filters.q())


def _ends(span: Range, first: datetime, last: datetime) -> Iterable[tuple[datetime, datetime]]:
    if last <= first:
        return [(span.since, span.until)]
    return [(span.since, first), (last, span.until)]
