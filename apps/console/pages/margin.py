"""What jobs earned and cost, by job type, team, model or organization, the worst first."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse

from apps.analytics import margin
from apps.analytics.instant import one_instant
from apps.analytics.margin import Margin
from apps.console import formats
from apps.console.charts import SERIES_MAX, Chart, Series
from apps.console.lists.filters import MONTHS, PRESETS, Ignored, Range, time_range
from apps.console.pages.base import Page
from apps.core import audit, clock
from apps.core.admin_base import actor_of
from apps.core.money import NANOUSD, exact_credits
from apps.core.spreadsheets import CONTENT_TYPE, Number, lines
from apps.organizations import rights
from apps.organizations.rights import Right

# By dimension: what a group is called, and the parameter of the list of jobs that finds its own.
GROUPS = {
    "job_type": ("Job type", "type"),
    "team": ("Team", "team"),
    "organization": ("Organization", "organization"),
    "model": ("Model", "model"),
}
_HEADER = (
    "group",
    "jobs",
    "credits_charged",
    "credits_refunded",
    "credits_uncollected",
    "revenue_usd",
    "revenue_is_estimated",
    "provider_cost_of_charged_jobs_usd",
    "provider_cost_of_uncharged_jobs_usd",
    "lost_cost_usd",
    "margin_usd",
    "margin_percent",
)


@dataclass(frozen=True, slots=True)
class Line:
    """A group as the page shows it. Money in nano-dollars."""

    name: str
    url: str
    margin: Margin

    @property
    def charged_cost(self) -> int:
        return self.margin.usage.provider_cost_nanousd - self.margin.usage.unbilled_cost_nanousd

    @property
    def percent(self) -> str:
        return formats.percent(self.margin.margin_nanousd, max(0, self.margin.revenue_nanousd))

    @property
    def is_estimated(self) -> bool:
        return self.margin.revenue.estimated_micros != 0


class MarginPage(Page):
    title = "Margin"
    template_name = "console/pages/money/margin.html"

    def asked(self) -> tuple[str, Range, str]:
        """The dimension, the time, and what was not understood of them."""
        given, wrong = self.request.GET, ""
        by = given.get("by", "job_type")
        if by not in GROUPS:
            by, wrong = "job_type", f"no margin by {by[:60]!r}"
        try:
            return by, time_range(given, "30d"), wrong
        except Ignored as error:
            return by, time_range(given.__class__(""), "30d"), str(error)

    def read(self, by: str, span: Range) -> list[Line]:
        with one_instant():
            found = margin.by(by, since=span.start, until=span.end)
        ranked = sorted(found.items(), key=lambda item: (item[1].margin_nanousd, item[0]))
        return [Line(name, self.jobs_url(by, name, span), each) for name, each in ranked]

    def jobs_url(self, by: str, name: str, span: Range) -> str:
        """Exactly the jobs that make a line up: the same instants."""
        query = {GROUPS[by][1]: name}
        if span.start is not None:
            query["from"] = clock.iso(span.start) or ""
        if span.end is not None:
            query["to"] = clock.iso(span.end) or ""
        if span.start is None and span.end is None:
            query["range"] = "all"
        return f"{reverse('admin:jobs_job_changelist')}?{urlencode(query)}"

    def get_context(self, **kwargs: Any) -> dict[str, Any]:
        by, span, wrong = self.asked()
        rows = self.read(by, span)
        total = Line("All", "", margin.total({row.name: row.margin for row in rows}))
        return {
            "by": by,
            "group_label": GROUPS[by][0],
            "groups": [(key, label) for key, (label, _) in GROUPS.items()],
            "range": span,
            "range_name": self.request.GET.get("range", "") or ("" if self.is_custom() else "30d"),
            "ranges": [*((key, words) for key, (words, _) in PRESETS.items()), *MONTHS.items(), ("all", "all time")],
            "wrong": wrong,
            "rows": rows,
            "total": total,
            "sentence": self.sentence(total, span),
            "chart": self.chart(rows, GROUPS[by][0]),
            "may_export": self.operator.holds(Right.EXPORT),
        }

    def is_custom(self) -> bool:
        return bool(self.request.GET.get("from") or self.request.GET.get("to"))

    def sentence(self, total: Line, span: Range) -> str:
        figures = total.margin
        if not figures.usage.jobs:
            return "No job in this time."
        said = (
            f"{formats.usd_sum(figures.revenue_nanousd)} revenue less"
            f" {formats.usd_sum(figures.usage.provider_cost_nanousd + figures.usage.lost_cost_nanousd)} provider cost"
            f" leaves {formats.usd_sum(figures.margin_nanousd)}"
        )
        return f"{said} ({total.percent})." if figures.revenue_nanousd > 0 else f"{said}."

    def chart(self, rows: list[Line], label: str) -> Chart:
        """Revenue and cost side by side of the largest groups."""
        largest = sorted(rows, key=lambda row: -(row.margin.revenue_nanousd + row.charged_cost))[:SERIES_MAX]
        revenue = [row.margin.revenue_nanousd for row in largest]
        cost = [row.margin.revenue_nanousd - row.margin.margin_nanousd for row in largest]
        return Chart(
            id="margin",
            title=f"Revenue and provider cost by {label.lower()}",
            kind="bar",
            unit="USD",
            labels=[formats.harmless(row.name)[:40] or "none" for row in largest],
            series=[
                Series("revenue", [each / NANOUSD for each in revenue], [formats.usd_sum(each) for each in revenue]),
                Series("provider cost", [each / NANOUSD for each in cost], [formats.usd_sum(each) for each in cost]),
            ],
            summary=f"Revenue {formats.usd_sum(sum(revenue))}, provider cost {formats.usd_sum(sum(cost))}.",
            links=[row.url for row in largest],
            note=f"The {len(largest)} largest of {len(rows)}." if len(rows) > len(largest) else "",
            empty="No charged job in this period.",
        )

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        """All lines as CSV. Leaves an audit row. Raises: RightMissing."""
        rights.require(self.operator.role, Right.EXPORT)
        by, span, _ = self.asked()
        query = request.GET.urlencode()[:2000]
        audit.record("export", actor=actor_of(request), kind="list", id="margin", after={"query": query})
        answer = StreamingHttpResponse(lines(_HEADER, self.exported(by, span)), content_type=CONTENT_TYPE)
        answer["Content-Disposition"] = f'attachment; filename="margin-by-{by}.csv"'
        answer["X-Content-Type-Options"] = "nosniff"
        return answer

    def exported(self, by: str, span: Range) -> Iterator[list[Any]]:
        for row in self.read(by, span):
            figures, points = row.margin, row.margin.margin_basis_points
            yield [
                row.name,
                figures.usage.jobs,
                *(
                    Number(exact_credits(micros))
                    for micros in (
                        figures.revenue.charged_micros,
                        figures.revenue.refunded_micros,
                        figures.usage.uncollected_micros,
                    )
                ),
                _usd(figures.revenue_nanousd),
                "yes" if row.is_estimated else "no",
                _usd(row.charged_cost),
                _usd(figures.usage.unbilled_cost_nanousd),
                _usd(figures.usage.lost_cost_nanousd),
                _usd(figures.margin_nanousd),
                None if points is None else Number(f"{Decimal(points) / 100:f}"),
            ]


def _usd(nanousd: int) -> Number:
    return Number(formats.usd(nanousd).replace("$", "").replace(",", "").replace(formats.MINUS, "-"))
