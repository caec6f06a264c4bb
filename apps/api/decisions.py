"""Why calls were refused, for operators and for a team about its own."""

from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present_limits as present
from apps.api.authentication import EitherView
from apps.api.fields import query_text
from apps.api.jobs import page
from apps.limits import decisions
from apps.organizations.rights import Right


class DecisionList(EitherView):
    """GET /api/decisions: the newest first; an operator narrows by `team_id`, a key has its own team's."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        limit, offset = page(request, default=50)
        team_id = query_text(request, "team_id")
        if team_id is None and self.caller.principal is not None:
            team_id = self.caller.principal.team.team_id
        refusal = f"API key does not belong to team '{team_id}'"
        team = self.team(team_id, refusal=refusal) if team_id is not None else None
        found = decisions.listing(team=team, limit=limit, offset=offset)
        return Response(
            {"decisions": [present.decision(each, to_operator=self.caller.is_operator) for each in found]}
        )


class OneDecision(EitherView):
    """GET /api/decisions/{decision_id}; another team's is not found."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, decision_id: str) -> Response:
        principal = self.caller.principal
        team = principal.team if principal is not None else None
        return Response(present.decision(decisions.find(decision_id, team=team), to_operator=principal is None))
