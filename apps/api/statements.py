"""Monthly statements as JSON and CSV. Amounts are exact decimal strings of credits, so that they add up."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from django.http import StreamingHttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from apps.analytics import statement_files as files
from apps.analytics import statements
from apps.api import spreadsheets
from apps.api.authentication import Caller, EitherView, OperatorView
from apps.api.display import display
from apps.api.listing import page
from apps.core import clock
from apps.core.errors import InvalidField
from apps.credits.history import Month
from apps.organizations import services as organizations
from apps.organizations.models import Organization
from apps.organizations.rights import Right


class TeamStatement(EitherView):
    """GET /api/teams/{team_id}/statements/{period}: for operators, and for the team's own key."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, team_id: str, period: str) -> Response | StreamingHttpResponse:
        team = self.team(team_id, refusal="Cannot access statements of a different team")
        owner = {"team_id": team.team_id, "organization_id": team.organization.organization_id}
        month = partial(statements.of_team, team, period)
        return _answer(self.caller, request, team_id, team.organization, owner, month)


class OrganizationStatement(OperatorView):
    """GET /api/organizations/{organization_id}/statements/{period}: its pool and the wallets of all its teams."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, organization_id: str, period: str) -> Response | StreamingHttpResponse:
        organization = organizations.find(organization_id)
        owner = {"organization_id": organization_id}
        month = partial(statements.of_organization, organization, period)
        return _answer(self.caller, request, organization_id, organization, owner, month)


def _answer(
    caller: Caller,
    request: Request,
    name: str,
    organization: Organization,
    owner: dict[str, Any],
    read: Callable[[], Month],
) -> Response | StreamingHttpResponse:
    as_csv = spreadsheets.is_wanted(request)
    if as_csv:
        caller.require(Right.EXPORT)
    limit, offset = page(request, default=100)
    try:
        month = read()
    except InvalidField as error:
        error.errors[0]["loc"] = ["path", "period"]
        raise
    if as_csv:
        return spreadsheets.response(f"statement-{name}-{month.name}.csv", files.COLUMNS, files.rows(month))
    # A month that is over keeps the rate that it ended with.
    ended_at = month.ends_at - timedelta(microseconds=1) if month.ends_at <= clock.now() else None
    return Response(owner | files.as_json(month, limit, offset) | display(organization, at=ended_at))
