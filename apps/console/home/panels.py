"""The dashboard's lazy parts by name: each has a URL of its own, fails alone, and takes a few queries."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.analytics.dashboard import Dimension
from apps.analytics.machine_room import STALE_AFTER, machine_room
from apps.analytics.rollups import filled_until
from apps.console.home import needs, numbers, plots, tables
from apps.console.home.asked import Asked
from apps.core import clock


@dataclass(frozen=True, slots=True)
class Panel:
    """`label` completes "Could not load …"."""

    label: str
    template: str
    context: Callable[[Asked, str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class UpTo:
    """How far figures go. None: they were never filled."""

    until: datetime | None

    @property
    def is_late(self) -> bool:
        return self.until is not None and clock.now() - self.until > STALE_AFTER


def _charts(draw: Callable[[Asked], list[Any]]) -> Callable[[Asked, str], dict[str, Any]]:
    return lambda asked, by: {"charts": draw(asked), "up_to": UpTo(filled_until()), "asked": asked}


def _table(dimension: Dimension) -> Callable[[Asked, str], dict[str, Any]]:
    return lambda asked, by: {"drawn": tables.draw(dimension, asked, by), "asked": asked}


def machine(asked: Asked | None = None, by: str = "") -> dict[str, Any]:
    """Three queries."""
    found = machine_room()
    return {"machine": found, "up_to": UpTo(found.figures_until)}


_CHART, _TABLE = "console/home/charts.html", "console/home/table.html"

PANELS: dict[str, Panel] = {
    "needs": Panel("what needs you", "console/home/needs.html", lambda asked, by: {"needs": needs.needs()}),
    "machine": Panel("the machine room", "console/home/machine.html", machine),
    "numbers": Panel("the numbers", "console/home/numbers.html", lambda asked, by: {"tiles": numbers.tiles(asked)}),
    "holdings": Panel(
        "what is held", "console/home/numbers.html", lambda asked, by: {"tiles": numbers.holdings(asked)}
    ),
    "credits": Panel("credits", _CHART, _charts(plots.credits)),
    "jobs": Panel("jobs", _CHART, _charts(plots.jobs)),
    "latency": Panel("latency", _CHART, _charts(plots.latency)),
    "refusals": Panel("refusals", _CHART, _charts(plots.refusals)),
    "money": Panel("revenue and cost", _CHART, _charts(plots.money)),
    "teams": Panel("teams", _TABLE, _table(Dimension.TEAM)),
    "job-types": Panel("job types", _TABLE, _table(Dimension.JOB_TYPE)),
    "models": Panel("models", _TABLE, _table(Dimension.MODEL)),
}
CHARTS = ("credits", "jobs", "latency", "refusals", "money")
TABLES = ("teams", "job-types", "models")
