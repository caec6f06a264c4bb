"""Why calls were refused, for operators and for a team about its own."""

from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present_limits as present
from apps.api.authentication import EitherView
from apps.api.fields import query_text
from apps.api.instants import query_instant
from apps.api.listing import long_listed, require_page
from apps.limits import decisions
from apps.organizations.rights import Right


class DecisionList(EitherView):
    """GET /api/decisions: the newest first; an operator narrows by `team_id` and `organization_id`, a key has its own
    team's; both by `code`, `job_id`, `model`, `from` and `to`."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        require_page(request)
        team_id = query_text(request, "team_id")
        if team_id is None and self.caller.principal is not None:
            team_id = self.caller.principal.team.team_id
        refusal = f"API key does not belong to team '{team_id}'"
        team = self.team(team_id, refusal=refusal) if team_id is not None else None
        texts = {name: query_text(request, name) for name in ("organization_id", "code", "job_id", "model")}
        found = decisions.matching(
            team=team, since=query_instant(request, "from"), until=query_instant(request, "to"), **texts
        )
        to_operator = self.caller.is_operator
        return long_listed(
            request,
            found,
            name="decisions",
            show=lambda rows: [present.decision(each, to_operator=to_operator) for each in rows],
        )


class OneDecision(EitherView):
    """GET /api/decisions/{decision_id}; another team's is not found."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, decision_id: str) -> Response:
        principal = self.caller.principal
        team = principal.team if principal is not None else None
        return Response(present.decision(decisions.find(decision_id, team=team), to_operator=principal is None))
