"""Reads of a team's credits under the other paths that clients know them by."""

from datetime import UTC, timedelta
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.analytics import usage
from apps.analytics.usage import Usage
from apps.api.authentication import EitherView
from apps.api.credits import TeamBalance, TeamTransactions
from apps.api.fields import query_error
from apps.core import clock
from apps.core.money import exact_credits, whole_credits
from apps.jobs.models import Job
from apps.organizations.rights import Right

_MAX_DAYS = 366


class Balance(TeamBalance):
    """GET /api/credits/balance?team_id="""

    def get(self, request: Request, team_id: str = "") -> Response:
        return super().get(request, _team_id(self, request))


class Transactions(TeamTransactions):
    """GET /api/credits/transactions?team_id=&limit="""

    def get(self, request: Request, team_id: str = "") -> Response:
        return super().get(request, _team_id(self, request))


class Trends(EitherView):
    """GET /api/credits/trends?team_id=&days=: what jobs of each of the last days were charged, today included."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        days = _days(request)
        team = self.team(_team_id(self, request), refusal="Cannot access credit usage of a different team")
        today = clock.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        since = today - timedelta(days=days - 1)
        by_day = usage.grouped(usage.between(Job.objects.for_team(team), since, None), "day")
        dates = [f"{since + timedelta(days=number):%Y-%m-%d}" for number in range(days)]
        total = usage.total(by_day)
        return Response(
            {
                "team_id": team.team_id,
                "days": days,
                "total_credits_used": whole_credits(total.charged_micros),
                "trends": [{"date": date} | _day(by_day.get(date, Usage())) for date in dates],
            }
        )


def _day(line: Usage) -> dict[str, Any]:
    return {
        "credits_used": whole_credits(line.charged_micros),
        "credits_used_exact": exact_credits(line.charged_micros),
        "jobs": line.jobs,
    }


def _team_id(view: EitherView, request: Request) -> str:
    """The team that the query names; without one a key's own. Raises: InvalidBody."""
    given: str | None = request.GET.get("team_id")
    if given is None and view.caller.principal is not None:
        return view.caller.principal.team.team_id
    if not given or "\x00" in given:
        raise query_error("team_id", "Field required", kind="missing", value=given)
    return given


def _days(request: Request) -> int:
    text = request.GET.get("days", "30")
    if not (text.isdecimal() and text.isascii() and len(text) <= 3 and 1 <= int(text) <= _MAX_DAYS):
        raise query_error("days", f"Must be a whole number from 1 to {_MAX_DAYS}", kind="int_parsing", value=text)
    return int(text)
