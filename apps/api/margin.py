"""What jobs earn: for operators alone."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.analytics import margin
from apps.analytics.instant import one_instant
from apps.analytics.margin import Margin
from apps.api.authentication import OperatorView
from apps.api.dates import dates_of
from apps.api.fields import query_choice
from apps.api.listing import page
from apps.core.money import exact_credits, usd, whole_credits
from apps.organizations.rights import Right


class MarginReport(OperatorView):
    """GET /api/margin?start_date&end_date&group_by=job_type|team|model|organization: highest revenue first."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        since, until = dates_of(request)
        group_by = query_choice(request, "group_by", tuple(margin.DIMENSIONS)) or "job_type"
        limit, offset = page(request, default=100)
        with one_instant():
            lines = margin.by(group_by, since=since, until=until)
        ranked = sorted(lines.items(), key=lambda item: (-item[1].revenue.money, item[0]))
        return Response(
            {
                "start_date": request.GET.get("start_date") or None,
                "end_date": request.GET.get("end_date") or None,
                "group_by": group_by,
                "total": _line(margin.total(lines)),
                "total_groups": len(ranked),
                "groups": [{group_by: name} | _line(line) for name, line in ranked[offset : offset + limit]],
            }
        )


def _line(line: Margin) -> dict[str, Any]:
    figures, revenue, points = line.usage, line.revenue, line.margin_basis_points
    return {
        "jobs": figures.jobs,
        "calls": figures.calls,
        "credits_charged": whole_credits(revenue.charged_micros),
        "credits_charged_exact": exact_credits(revenue.charged_micros),
        "credits_refunded_exact": exact_credits(revenue.refunded_micros),
        "credits_uncollected_exact": exact_credits(figures.uncollected_micros),
        "revenue_usd": usd(line.revenue_nanousd),
        "revenue_is_estimated": revenue.estimated_micros != 0,
        "credits_estimated_exact": exact_credits(revenue.estimated_micros),
        "cost_is_known": figures.unpriced_calls == 0,
        "unpriced_calls": figures.unpriced_calls,
        "provider_cost_usd": usd(figures.provider_cost_nanousd),
        "unbilled_cost_usd": usd(figures.unbilled_cost_nanousd),
        "lost_cost_usd": usd(figures.lost_cost_nanousd),
        "margin_usd": usd(line.margin_nanousd),
        "margin_percent": None if points is None else points / 100,
    }
