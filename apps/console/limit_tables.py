"""Limits on the pages of organizations, teams and keys: which hold and whose they are, and their own."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from apps.console import formats
from apps.console.lists import columns
from apps.console.lists.columns import Column
from apps.console.tables import Table
from apps.console.templatetags import console as tags
from apps.core import clock
from apps.limits import effective as effective_limits
from apps.limits.models import Limit, Metric
from apps.teams.models import Team

_WORDS: dict[str, str] = {
    Metric.REQUESTS: "requests a minute",
    Metric.TOKENS: "tokens a minute",
    Metric.CALLS: "calls at a time",
    Metric.SPEND_DAY: "credits a day",
    Metric.SPEND_WEEK: "credits a week",
    Metric.SPEND_MONTH: "credits a month",
}


def metric_words(metric: str) -> str:
    return _WORDS.get(metric, metric)


def amount(metric: str, value: int | None) -> str:
    """In the metric's unit: spend in credits, the others counted."""
    return formats.credits(value) if metric.startswith("spend_") else formats.count(value)


def _whose(row: dict[str, Any]) -> str:
    scope = row["scope"]
    return "the platform" if scope == "platform" else f"{scope} {row['id']}"


def effective(team: Team, *, key_id: str = "", model: str = "") -> Table:
    """Every limit on the way of such a call, with what is used and held of each now."""
    rows = effective_limits.limits(team, key_id=key_id, model=model, user_id="")
    note = "A call passes only if every one of these does. Limits of single models and end users come on top."
    return Table(
        "What holds now",
        (
            columns.plain("Limit", lambda row: metric_words(row["limit"]), place="first"),
            columns.text("Set by", _whose, place="second"),
            _number("Allowed", "allowed", place="amount"),
            _number("Used", "used"),
            _number("Held", "held"),
            Column("Of it", _bar, lambda row: "", "rest"),
            columns.plain("Resets", _resets),
        ),
        rows,
        "No limit is on the way of its calls. Only credits bound what is used.",
        note=note if rows else "",
    )


def _number(label: str, name: str, *, place: Any = "rest") -> Column:
    return Column(label, lambda row: amount(row["limit"], row[name]), lambda row: row[name], place, is_number=True)


def _bar(row: dict[str, Any]) -> Any:
    if row["used"] is None:
        return "not known"
    return tags.bar(row["used"] + (row["held"] or 0), row["allowed"])


def _resets(row: dict[str, Any]) -> str:
    instant = datetime.fromisoformat(row["resets_at"]) if row["resets_at"] else None
    return f"{formats.ago(instant)} · {formats.clock(instant)}" if instant else ""


def own(title: str, limits: Sequence[Limit], empty: str) -> Table:
    """Limits as they were set, with their raises."""
    return Table(
        title,
        (
            columns.plain("Limit", lambda row: metric_words(row.metric), place="first"),
            columns.text("Of", lambda row: f"{row.scope} {row.subject}".strip(), place="second"),
            Column("Allowed", lambda row: amount(row.metric, row.amount), lambda row: row.amount, "amount", True),
            columns.plain("Raised", _raised),
            columns.text("Why", lambda row: row.raise_reason),
        ),
        limits,
        empty,
    )


def _raised(limit: Limit) -> str:
    if limit.raised_to is None or limit.raised_until is None or limit.raised_until <= clock.now():
        return ""
    return f"{amount(limit.metric, limit.raised_to)} until {formats.clock(limit.raised_until)}"
