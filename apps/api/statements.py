"""Monthly statements as JSON and CSV."""

from collections.abc import Callable
from typing import Any

from django.http import StreamingHttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from apps.analytics import statement_files as files
from apps.analytics import statements
from apps.api import spreadsheets
from apps.api.authentication import EitherView, OperatorView
from apps.api.jobs import page
from apps.core.errors import InvalidField
from apps.credits.history import Month
from apps.organizations import services as organizations


class TeamStatement(EitherView):
    """GET /api/teams/{team_id}/statements/{period}: for operators, and for the team's own key."""

    def get(self, request: Request, team_id: str, period: str) -> Response | StreamingHttpResponse:
        team = self.team(team_id, refusal="Cannot access statements of a different team")
        owner = {"team_id": team.team_id, "organization_id": team.organization.organization_id}
        return _answer(request, team_id, owner, lambda: statements.of_team(team, period))


class OrganizationStatement(OperatorView):
    """GET /api/organizations/{organization_id}/statements/{period}: its pool and the wallets of all its teams."""

    def get(self, request: Request, organization_id: str, period: str) -> Response | StreamingHttpResponse:
        organization = organizations.find(organization_id)
        owner = {"organization_id": organization_id}
        return _answer(request, organization_id, owner, lambda: statements.of_organization(organization, period))


def _answer(
    request: Request, name: str, owner: dict[str, Any], read: Callable[[], Month]
) -> Response | StreamingHttpResponse:
    as_csv = spreadsheets.is_wanted(request)
    limit, offset = page(request, default=100)
    try:
        month = read()
    except InvalidField as error:
        error.errors[0]["loc"] = ["path", "period"]
        raise
    if as_csv:
        return spreadsheets.response(f"statement-{name}-{month.name}.csv", files.COLUMNS, files.rows(month))
    return Response(owner | files.as_json(month, limit, offset))
