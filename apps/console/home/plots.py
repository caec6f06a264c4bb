"""The dashboard's charts. One query each, besides the one for up to when figures go."""

from collections.abc import Iterable, Sequence
from zoneinfo import ZoneInfo

from apps.analytics import dashboard
from apps.analytics.ranges import Grain
from apps.console import formats
from apps.console.charts import SERIES_MAX, Chart, Series
from apps.console.home.asked import Asked
from apps.core.money import MICROS, NANOUSD

_OTHER = "Other"


def labels(asked: Asked) -> list[str]:
    """One a point, in the zone that days are of."""
    zone = ZoneInfo(asked.span.zone)
    local = [point.astimezone(zone) for point in asked.span.points]
    if asked.span.grain == Grain.DAY:
        return [f"{each.day} {each:%b}" for each in local]
    if asked.span.grain == Grain.HOUR:
        return [f"{each.day} {each:%b %H:%M}" for each in local]
    return [f"{each:%H:%M}" for each in local]


def credits(asked: Asked) -> list[Chart]:
    points = dashboard.credits_chart(asked.span, asked.filters)
    sold, spent = [each.sold_micros for each in points], [each.spent_micros for each in points]
    series = [_credits("Spent", spent, 1)]
    if not asked.filters.is_of_work:
        series.insert(0, _credits("Sold", sold, 2))
    said = f"sold {formats.credits(sum(sold))}, " if not asked.filters.is_of_work else ""
    summary = f"Credits in the {asked.words}: {said}spent {formats.credits(sum(spent))}."
    link = asked.bars("admin:credits_entry_changelist")
    return [Chart("credits", "Credits", "bar", labels(asked), series, summary, "credits", link)]


def jobs(asked: Asked) -> list[Chart]:
    points = dashboard.jobs_chart(asked.span, asked.filters)
    series = [
        _counts("completed", [each.completed for each in points], 2),
        _counts("failed", [each.failed for each in points], 4),
        _counts("cancelled", [each.cancelled for each in points], 8),
    ]
    said = ", ".join(f"{formats.count(int(_sum(each.values)))} {each.label}" for each in series)
    summary = f"Jobs closed in the {asked.words}: {said}."
    return [
        Chart(
            "jobs",
            "Jobs by outcome",
            "stacked",
            labels(asked),
            series,
            summary,
            "jobs",
            asked.bars("admin:jobs_job_changelist"),
        )
    ]


def latency(asked: Asked) -> list[Chart]:
    points = dashboard.latency_chart(asked.span, asked.filters)
    series = [
        _milliseconds("median", [each.p50_ms for each in points], 1),
        _milliseconds("95th percentile", [each.p95_ms for each in points], 3),
    ]
    slowest = max((each.p95_ms or 0 for each in points), default=0)
    summary = f"Latency of calls in the {asked.words}: 95th percentile at most {formats.duration(slowest)}."
    link = asked.bars("admin:jobs_call_changelist")
    return [Chart("latency", "Latency of calls", "line", labels(asked), series, summary, "seconds", link)]


def money(asked: Asked) -> list[Chart]:
    """Revenue and cost, and below them the margin on an axis of its own."""
    points = dashboard.money_chart(asked.span, asked.filters)
    earned, cost = [each.earned_nanousd for each in points], [each.cost_nanousd for each in points]
    margins = [each.margin_basis_points for each in points]
    summary = (
        f"In the {asked.words} revenue was {formats.usd_sum(sum(earned))} and provider cost"
        f" {formats.usd_sum(sum(cost))}."
    )
    total = sum(earned)
    margin = formats.percent(total - sum(cost), total) if total > 0 else "n/a"
    link = asked.bars("admin:jobs_job_changelist")
    shown = [formats.UNKNOWN if each is None else formats.percent(each, 10_000) for each in margins]
    percents = [None if each is None else each / 100 for each in margins]
    return [
        Chart(
            "money",
            "Revenue and provider cost",
            "bar",
            labels(asked),
            [_usd("Revenue", earned, 2), _usd("Provider cost", cost, 3)],
            summary,
            "USD",
            link,
        ),
        Chart(
            "margin",
            "Margin of revenue",
            "line",
            labels(asked),
            [Series("Margin", percents, shown, 6)],
            f"Margin of revenue in the {asked.words}: {margin}.",
            "%",
            link,
            height=140,
        ),
    ]


def refusals(asked: Asked) -> list[Chart]:
    points = dashboard.refusals_chart(asked.span, asked.filters)
    codes = _largest(points)
    series = [_counts(code, [each.get(code, 0) for each in points], place) for place, code in enumerate(codes, 1)]
    rest = [sum(each.values()) - sum(each.get(code, 0) for code in codes) for each in points]
    if any(rest):
        series.append(_counts(_OTHER, rest, SERIES_MAX + 1))
    total = sum(sum(each.values()) for each in points)
    summary = f"{formats.count(total)} calls were refused in the {asked.words}."
    link = asked.bars("admin:limits_decision_changelist")
    return [Chart("refusals", "Refusals by code", "stacked", labels(asked), series, summary, "calls", link)]


def _largest(points: Iterable[dict[str, int]]) -> list[str]:
    sums: dict[str, int] = {}
    for each in points:
        for code, count in each.items():
            sums[code] = sums.get(code, 0) + count
    return sorted(sums, key=lambda code: (-sums[code], code))[:SERIES_MAX]


def _sum(values: Sequence[float | None]) -> float:
    return sum(value or 0 for value in values)


def _credits(label: str, micros: list[int], color: int) -> Series:
    return Series(label, [each / MICROS for each in micros], [formats.credits(each) for each in micros], color)


def _counts(label: str, counts: list[int], color: int) -> Series:
    return Series(label, counts, [formats.count(each) for each in counts], color)


def _milliseconds(label: str, found: list[int | None], color: int) -> Series:
    seconds = [None if each is None else each / 1000 for each in found]
    return Series(label, seconds, [formats.duration(each) for each in found], color)


def _usd(label: str, nanousd: list[int], color: int) -> Series:
    return Series(label, [each / NANOUSD for each in nanousd], [formats.usd_sum(each) for each in nanousd], color)
