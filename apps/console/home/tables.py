"""The dashboard's tables: the ten largest teams, job types and models, and all others in one row."""

from dataclasses import dataclass, field
from typing import Any

from django.urls import reverse

from apps.analytics import dashboard
from apps.analytics.dashboard import Dimension, Measure
from apps.analytics.figures import Sums
from apps.console import formats
from apps.console.home.asked import Asked

MEASURES = {
    Measure.SPEND: "Spent",
    Measure.COST: "Provider cost",
    Measure.MARGIN: "Margin",
    Measure.CALLS: "Calls",
    Measure.ERRORS: "Errors",
}
_TITLES = {Dimension.TEAM: "Teams", Dimension.JOB_TYPE: "Job types", Dimension.MODEL: "Models"}
_NOBODY = {
    Dimension.TEAM: "pools of organizations",
    Dimension.JOB_TYPE: "without a job",
    Dimension.MODEL: "without a model",
}


@dataclass(frozen=True, slots=True)
class Line:
    """`cells` are in the order of MEASURES. `url` may be empty."""

    name: str
    url: str
    cells: list[str]
    is_named: bool = True


@dataclass(frozen=True, slots=True)
class Drawn:
    title: str
    lines: list[Line]
    measure: str
    other: Line | None = None
    measures: dict[str, str] = field(default_factory=lambda: {key.value: label for key, label in MEASURES.items()})


def draw(dimension: Dimension, asked: Asked, by: str) -> Drawn:
    """Ordered by a measure; three queries at most."""
    measure = Measure(by) if by in list(Measure) else Measure.SPEND
    table = dashboard.table(dimension, measure, asked.span, asked.filters)
    lines = [
        Line(str(row.name) or _NOBODY[dimension], _url(dimension, row, asked), _cells(row.sums), bool(row.name))
        for row in table.rows
        if row.name or _has_something(row.sums)
    ]
    other = None
    if table.others:
        other = Line(f"{formats.count(table.others)} others", "", _cells(table.other), is_named=False)
    return Drawn(_TITLES[dimension], lines, measure.value, other)


def _has_something(sums: Sums) -> bool:
    return bool(sums.spent_micros or sums.cost_nanousd or sums.calls)


def _cells(sums: Sums) -> list[str]:
    return [
        formats.credits(sums.spent_micros),
        formats.usd_sum(sums.cost_nanousd),
        formats.usd_sum(sums.margin_nanousd),
        formats.count(sums.calls),
        formats.count(sums.errors),
    ]


def _url(dimension: Dimension, row: Any, asked: Asked) -> str:
    if not row.name:
        return ""
    if dimension == Dimension.TEAM:
        return reverse("admin:team", kwargs={"team_id": row.name})
    if dimension == Dimension.JOB_TYPE:
        return asked.rows("admin:jobs_job_changelist", type=str(row.name))
    return asked.rows("admin:jobs_call_changelist", model=str(row.name))
