"""Limits, for operators: set, list, raise for a time, delete; and which of them a call would meet."""

from typing import Annotated, Any

from pydantic import AwareDatetime, Field
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present_limits as present
from apps.api.authentication import EitherView, OperatorView, Partly, WrongTeam
from apps.api.fields import Reason, query_choice, query_error, query_text
from apps.api.idempotent import respond
from apps.api.listing import listed
from apps.api.parsing import Input, parse
from apps.core.ids import parse_uuid
from apps.core.money import MAX_CREDITS, MICROS
from apps.limits import effective, gate, services
from apps.limits.models import SUBJECT_MAX, Metric, Scope
from apps.organizations.rights import Right
from apps.teams import services as teams

Amount = Annotated[int, Field(ge=0, le=MAX_CREDITS * MICROS)]
Subject = Annotated[str, Field(max_length=SUBJECT_MAX)]


class PutLimitInput(Input):
    """A limit to set: spend in micros of a credit. Without `id`, of a user: of each user of the team."""

    scope: str
    id: Subject | None = None
    team_id: Subject | None = None
    metric: str
    amount: Amount


class RaiseInput(Input):
    """Another amount for a time."""

    amount: Amount
    # Not strict: JSON has instants as text.
    until: Annotated[AwareDatetime, Field(strict=False)]
    reason: Reason | None = None


class LimitList(OperatorView):
    """GET /api/limits: an array, narrowed by `scope`, `id`, `team_id`, `organization_id`, `metric`. PUT sets one."""

    rights = {"GET": Right.VIEW, "PUT": Right.LIMITS_WRITE}

    def get(self, request: Request) -> Response:
        matching = services.matching(
            scope=query_choice(request, "scope", Scope.values),
            subject_id=query_text(request, "id"),
            team_id=query_text(request, "team_id"),
            organization_id=query_text(request, "organization_id"),
            metric=query_choice(request, "metric", Metric.values),
        )
        orders = {name: name for name in ("scope", "metric", "amount", "created_at")}
        found = listed(request, matching, default=100, orders=orders)
        return found.array(present.limit(each) for each in found.rows)

    def put(self, request: Request) -> Response:
        body = parse(PutLimitInput, request)
        limit, _ = services.put(
            scope=body.scope,
            id=body.id or "",
            team_id=body.team_id or "",
            metric=body.metric,
            amount=body.amount,
            actor=self.caller.actor,
        )
        return Response(present.limit(services.find(limit.pk)))


class OneLimit(OperatorView):
    """GET and DELETE /api/limits/{limit_id}"""

    rights = {"GET": Right.VIEW, "DELETE": Right.LIMITS_WRITE}

    def get(self, request: Request, limit_id: str) -> Response:
        return Response(present.limit(services.find(limit_id)))

    def delete(self, request: Request, limit_id: str) -> Response:
        services.delete(limit_id, actor=self.caller.actor)
        return Response({"message": f"Limit '{limit_id}' deleted successfully"})


class RaiseLimit(OperatorView):
    """POST /api/limits/{limit_id}/raise"""

    rights = {"POST": Partly(Right.LIMITS_WRITE)}

    def post(self, request: Request, limit_id: str) -> Response:
        body = parse(RaiseInput, request)

        def effect() -> dict[str, Any]:
            services.require_may_raise(self.caller.as_operator, limit_id, amount=body.amount, until=body.until)
            services.raise_(
                limit_id, amount=body.amount, until=body.until, reason=body.reason or "", actor=self.caller.actor
            )
            return {"limit_id": limit_id}

        return respond(
            self, request, effect=effect, render=lambda ids, _: present.limit(services.find(ids["limit_id"]))
        )


class EffectiveLimits(EitherView):
    """GET /api/limits/effective: every limit that a call would meet, and how it stands. A key asks about itself."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        principal = self.caller.principal
        asked = {name: query_text(request, name) for name in ("team_id", "key_id", "model", "user_id")}
        if principal is not None:
            if asked["team_id"] not in (None, principal.team.team_id):
                raise WrongTeam(f"API key does not belong to team '{asked['team_id']}'")
            if asked["key_id"] not in (None, principal.key_id):
                raise WrongTeam("A key asks about itself alone")
            team, key_id = principal.team, principal.key_id
        else:
            if asked["team_id"] is None:
                raise query_error("team_id", "Name a team", kind="missing")
            team, key_id = teams.find(asked["team_id"]), asked["key_id"] or ""
            if key_id and parse_uuid(key_id) is None:
                raise query_error("key_id", "Must be a key's id", value=key_id)
        found = effective.limits(team, key_id=key_id, model=asked["model"] or "", user_id=asked["user_id"] or "")
        if principal is not None:
            found = [gate.to_customer(each) for each in found]
        return Response({"team_id": team.team_id, "key_id": key_id or None, "limits": found})
