"""What the dashboard shows, one function a panel: figures with the span before, points of charts, the largest of each
kind. Money is in nano-dollars, credits in micros; percentages are basis points (1 % = 100). No panel takes more than
three queries."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from django.db.models import Q, Sum
from django.db.models.functions import Now

from apps.analytics import figures, latency
from apps.analytics.figures import Filters, Sums
from apps.analytics.ranges import Range
from apps.core import clock
from apps.credits.models import Account
from apps.teams.models import Team

EXPIRING_WITHIN = timedelta(days=30)
_WHOLE = 10_000


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, and what it was in the span before. None: there is none to tell."""

    now: int | None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers that the span's rollups tell. Sold is None under filters of job types and models."""

    sold_micros: Figure
    spent_micros: Figure
    earned_nanousd: Figure
    cost_nanousd: Figure
    margin_nanousd: Figure
    margin_basis_points: Figure
    jobs: Figure
    completed_basis_points: Figure
    calls: Figure
    error_basis_points: Figure
    refusals: Figure
    p50_ms: Figure
    p95_ms: Figure
    # Some of the revenue is worth the list price, since nobody recorded another; some cost is not known.
    is_estimated: bool
    unpriced_calls: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """What accounts have now, in micros."""

    held_micros: int
    available_micros: int
    expiring_micros: int


@dataclass(frozen=True, slots=True)
class CreditPoint:
    sold_micros: int
    spent_micros: int


@dataclass(frozen=True, slots=True)
class JobPoint:
    completed: int
    failed: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class LatencyPoint:
    """None where no call succeeded."""

    p50_ms: int | None
    p95_ms: int | None


@dataclass(frozen=True, slots=True)
class MoneyPoint:
    """`margin_basis_points` of the revenue; None without any."""

    earned_nanousd: int
    cost_nanousd: int
    margin_basis_points: int | None


class Dimension(StrEnum):
    """What a table has a row for."""

    TEAM = "team"
    JOB_TYPE = "job_type"
    MODEL = "model"


class Measure(StrEnum):
    """What a table is ordered by."""

    SPEND = "spend"
    COST = "cost"
    MARGIN = "margin"
    CALLS = "calls"
    ERRORS = "errors"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table. `key` is what to filter by: a team's primary key, a job type, a model."""

    key: int | str | None
    name: str
    sums: Sums


@dataclass(frozen=True, slots=True)
class Table:
    """The largest, and all that is not among them; `others` counts those."""

    rows: list[Row]
    others: int = 0
    other: Sums = field(default_factory=Sums)


def numbers(span: Range, filters: Filters) -> Numbers:
    """The span's figures and those of the span before. Three queries."""
    sums = figures.totals(span, filters)
    now, before = sums.now, sums.before
    latencies = figures.latencies(span, filters)

    def both(read: Callable[[Sums], int | None]) -> Figure:
        return Figure(read(now), read(before))

    return Numbers(
        sold_micros=Figure(None) if filters.is_of_work else both(_sold),
        spent_micros=both(lambda each: each.spent_micros),
        earned_nanousd=both(lambda each: each.earned_nanousd),
        cost_nanousd=both(lambda each: each.cost_nanousd),
        margin_nanousd=both(lambda each: each.margin_nanousd),
        margin_basis_points=both(_margin),
        jobs=both(lambda each: each.jobs),
        completed_basis_points=both(lambda each: _part(each.jobs_completed, each.jobs)),
        calls=both(lambda each: each.calls),
        error_basis_points=both(lambda each: _part(each.errors, each.calls)),
        refusals=Figure(*figures.refusals(span, filters)),
        p50_ms=Figure(*(latency.percentile(counts, 50) for counts in latencies)),
        p95_ms=Figure(*(latency.percentile(counts, 95) for counts in latencies)),
        is_estimated=now.is_estimated,
        unpriced_calls=now.unpriced_calls,
    )


def holdings(filters: Filters) -> Holdings:
    """What is held, can be spent and expires within EXPIRING_WITHIN: now, whatever the job type. Two queries."""
    owned = Q()
    if filters.organization is not None:
        owned &= Q(organization=filters.organization) | Q(team__organization=filters.organization)
    if filters.team is not None:
        owned &= Q(team=filters.team)
    accounts = Account.objects.exclude(kind=Account.Kind.SYSTEM).filter(owned)
    sums = accounts.aggregate(posted=Sum("posted_micros", default=0), held=Sum("held_micros", default=0))
    soon = clock.from_now(EXPIRING_WITHIN.total_seconds())
    expiring = accounts.filter(
        next_expiry_at__lte=soon,
        grants__remaining_micros__gt=0,
        grants__expires_at__gt=Now(),
        grants__expires_at__lte=soon,
    ).aggregate(micros=Sum("grants__remaining_micros", default=0))
    return Holdings(sums["held"], sums["posted"] - sums["held"], expiring["micros"])


def credits_chart(span: Range, filters: Filters) -> list[CreditPoint]:
    """Credits sold and spent. One query."""
    return [CreditPoint(_sold(each), each.spent_micros) for each in figures.points(span, filters)]


def jobs_chart(span: Range, filters: Filters) -> list[JobPoint]:
    """Jobs that closed, by how. One query."""
    return [
        JobPoint(each.jobs_completed, each.jobs_failed, each.jobs_cancelled) for each in figures.points(span, filters)
    ]


def latency_chart(span: Range, filters: Filters) -> list[LatencyPoint]:
    """How long calls took. One query."""
    return [
        LatencyPoint(latency.percentile(counts, 50), latency.percentile(counts, 95))
        for counts in figures.latency_points(span, filters)
    ]


def money_chart(span: Range, filters: Filters) -> list[MoneyPoint]:
    """Revenue, what providers took, and the margin. One query."""
    return [
        MoneyPoint(each.earned_nanousd, each.cost_nanousd, _margin(each)) for each in figures.points(span, filters)
    ]


def refusals_chart(span: Range, filters: Filters) -> list[dict[str, int]]:
    """Refused calls by code. One query."""
    return figures.refusal_points(span, filters)


def table(dimension: Dimension, measure: Measure, span: Range, filters: Filters, *, limit: int = 10) -> Table:
    """The largest by a measure (the smallest margin first) and the sum of the others. Three queries at most.

    What has no team (pools), no job type or no model is a row with an empty name.
    """
    groups = figures.groups(dimension.value, span, filters)
    ordered = sorted(groups.items(), key=lambda item: (_ORDER[measure](item[1]), str(item[0])))
    top, rest = ordered[:limit], ordered[limit:]
    names: dict[Any, str] = {}
    if dimension == Dimension.TEAM:
        names = dict(Team.objects.filter(pk__in=[key for key, _ in top if key]).values_list("pk", "team_id"))
    other = Sums()
    for _, sums in rest:
        other.add({name: getattr(sums, name) for name in figures.NAMES})
    return Table([Row(key, names.get(key, key or ""), sums) for key, sums in top], len(rest), other)


_ORDER: dict[Measure, Callable[[Sums], int]] = {
    Measure.SPEND: lambda sums: -sums.spent_micros,
    Measure.COST: lambda sums: -sums.cost_nanousd,
    Measure.MARGIN: lambda sums: sums.margin_nanousd,
    Measure.CALLS: lambda sums: -sums.calls,
    Measure.ERRORS: lambda sums: -sums.errors,
}


def _sold(sums: Sums) -> int:
    return sums.sold_micros - sums.taken_back_micros


def _margin(sums: Sums) -> int | None:
    return sums.margin_nanousd * _WHOLE // sums.earned_nanousd if sums.earned_nanousd > 0 else None


def _part(part: int, whole: int) -> int | None:
    return part * _WHOLE // whole if whole else None
