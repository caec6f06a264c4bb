"""The dashboard's numbers: short, with the exact one on hover, what they were before, and the rows behind them."""

from dataclasses import dataclass
from decimal import Decimal

from django.urls import reverse

from apps.analytics import dashboard
from apps.analytics.dashboard import Figure
from apps.console import formats
from apps.console.home.asked import Asked
from apps.core.money import MICROS

_NANO_PER_CENT = 10_000_000
_JOBS, _CALLS = "admin:jobs_job_changelist", "admin:jobs_call_changelist"
_LEDGER, _GRANTS = "admin:credits_entry_changelist", "admin:credits_grant_changelist"
_REFUSALS = "admin:limits_decision_changelist"


@dataclass(frozen=True, slots=True)
class Tile:
    """`exact` is shown on hover, `change` says how it was before; either may be empty."""

    label: str
    shown: str
    exact: str = ""
    change: str = ""
    url: str = ""
    note: str = ""


def tiles(asked: Asked) -> list[Tile]:
    """The span's figures. Three queries."""
    found = dashboard.numbers(asked.span, asked.filters)
    estimated = "estimated: some credits have no known price" if found.is_estimated else ""
    unpriced = f"{formats.count(found.unpriced_calls)} calls at an unknown cost" if found.unpriced_calls else ""
    charges = asked.rows(_LEDGER, kind="charge")
    jobs, calls = asked.rows(_JOBS), asked.rows(_CALLS)

    def tile(label: str, figure: Figure, kind: str, url: str, note: str = "") -> Tile:
        change = _change(figure, kind) if asked.is_compared else ""
        return Tile(label, _short(figure.now, kind), _exact(figure.now, kind), change, url, note)

    return [
        tile("Credits sold", found.sold_micros, "credits", asked.rows(_LEDGER, kind="grant")),
        tile("Credits spent", found.spent_micros, "credits", charges),
        tile("Revenue", found.earned_nanousd, "usd", charges, estimated),
        tile("Provider cost", found.cost_nanousd, "usd", jobs, unpriced),
        tile("Margin", found.margin_nanousd, "usd", jobs, estimated or unpriced),
        tile("Margin of revenue", found.margin_basis_points, "percent", jobs),
        tile("Jobs closed", found.jobs, "count", jobs),
        tile("Jobs completed", found.completed_basis_points, "percent", asked.rows(_JOBS, state="completed")),
        tile("Calls", found.calls, "count", calls),
        tile("Calls that failed", found.error_basis_points, "percent", asked.rows(_CALLS, state="failed")),
        tile("Refusals", found.refusals, "count", asked.rows(_REFUSALS)),
        tile("Latency, median", found.p50_ms, "ms", calls),
        tile("Latency, 95th percentile", found.p95_ms, "ms", calls),
    ]


def holdings(asked: Asked) -> list[Tile]:
    """What accounts have now, whatever the range. Two queries."""
    found = dashboard.holdings(asked.filters)
    teams = reverse("admin:teams_team_changelist")
    return [
        Tile("Held now", _short(found.held_micros, "credits"), _exact(found.held_micros, "credits"), url=teams),
        Tile(
            "Available now",
            _short(found.available_micros, "credits"),
            _exact(found.available_micros, "credits"),
            url=teams,
        ),
        Tile(
            "Expire in 30 days",
            _short(found.expiring_micros, "credits"),
            _exact(found.expiring_micros, "credits"),
            url=reverse(_GRANTS),
        ),
    ]


def _short(value: int | None, kind: str) -> str:
    if value is None:
        return "n/a" if kind == "percent" else formats.UNKNOWN
    if kind == "credits":
        return formats.short(value, per=MICROS)
    if kind == "usd":
        is_long = abs(value) >= 10_000 * 100 * _NANO_PER_CENT
        text = formats.short(abs(value), per=100 * _NANO_PER_CENT)
        return f"{formats.MINUS if value < 0 else ''}${text}" if is_long else formats.usd_sum(value)
    if kind == "percent":
        return formats.percent(value, 10_000)
    return formats.duration(value) if kind == "ms" else formats.short(value)


def _exact(value: int | None, kind: str) -> str:
    if value is None or kind in ("percent", "ms"):
        return ""
    return {"credits": formats.credits, "usd": formats.usd, "count": formats.count}[kind](value)


def _change(figure: Figure, kind: str) -> str:
    """In percent of what it was; shares in points."""
    now, before = figure.now, figure.before
    if now is None or before is None:
        return ""
    if kind == "percent":
        points = f"{Decimal(abs(now - before)) / 100:.1f}"
        return "as before" if now == before else f"{'+' if now > before else formats.MINUS}{points} points"
    if now == before:
        return "as before"
    if before <= 0:
        return f"before: {_short(before, kind)}"
    text = formats.percent(now - before, before)
    return text if now < before else f"+{text}"
