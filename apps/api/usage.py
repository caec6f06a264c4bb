"""A team's usage in a month or on a day, in UTC, by when its jobs were created."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.authentication import EitherView
from apps.api.display import display
from apps.api.fields import query_error
from apps.core.clock import now
from apps.core.money import exact_credits, usd, whole_credits
from apps.credits import billing
from apps.jobs import usage
from apps.jobs.usage import Usage

_PERIOD = re.compile(r"([12]\d{3})-(\d{2})(?:-(\d{2}))?", re.ASCII)


class TeamUsage(EitherView):
    """GET /api/teams/{team_id}/usage?period=YYYY-MM or YYYY-MM-DD"""

    def get(self, request: Request, team_id: str) -> Response:
        period = request.GET.get("period")
        if period is None:
            raise query_error("period", "Field required", kind="missing")
        since, until = bounds(period)
        team = self.team(team_id, refusal="Cannot access usage data for a different team")
        by_type = usage.by_job_type(team, since=since, until=until)
        show_costs = self.caller.is_operator or billing.shows_costs(team)
        lines = list(by_type.values())
        shown: dict[str, Any] = {}
        if show_costs:
            # A past period keeps the rate that it ended with.
            ended_at = until - timedelta(microseconds=1) if until <= now() else None
            total = sum(line.client_cost_nanousd for line in lines)
            shown = display(team.organization, nanousd=total, at=ended_at, places=2)
        return Response(
            {
                "team_id": team_id,
                "period": period,
                "summary": _summary(lines, show_costs=show_costs) | shown,
                "job_types": {name: _line(each, show_costs=show_costs) for name, each in by_type.items()},
            }
        )


def bounds(period: str) -> tuple[datetime, datetime]:
    """The first instant of a month or day and of the one after it. Raises: InvalidBody."""
    parts = _PERIOD.fullmatch(period)
    try:
        if parts is None:
            raise ValueError
        year, month, day = parts.groups()
        since = datetime(int(year), int(month), int(day or 1), tzinfo=UTC)
    except ValueError:
        raise query_error("period", "Must be a month (YYYY-MM) or a day (YYYY-MM-DD)", value=period) from None
    if day is not None:
        return since, since + timedelta(days=1)
    # 32 days after the first of a month is always in the next one.
    return since, (since + timedelta(days=32)).replace(day=1)


def _summary(lines: list[Usage], *, show_costs: bool) -> dict[str, Any]:
    total = Usage()
    for line in lines:
        total.add(line)
    average = total.client_cost_nanousd // total.jobs if total.jobs else 0
    return {
        "total_jobs": total.jobs,
        "successful_jobs": total.completed,
        "failed_jobs": total.failed,
        "total_cost_usd": usd(total.client_cost_nanousd, places=2) if show_costs else None,
        "total_tokens": total.tokens,
        "avg_cost_per_job": usd(average, places=4) if show_costs else None,
        "credits_used": whole_credits(total.charged_micros),
        "credits_used_exact": exact_credits(total.charged_micros),
    }


def _line(line: Usage, *, show_costs: bool) -> dict[str, Any]:
    return {
        "count": line.jobs,
        "cost_usd": usd(line.client_cost_nanousd, places=6) if show_costs else None,
        "tokens": line.tokens,
        "credits_used": whole_credits(line.charged_micros),
    }
