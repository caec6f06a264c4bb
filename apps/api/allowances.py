"""Credits to come: a team's automatic refill, and grants dated ahead."""

from typing import Annotated, Any

from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present
from apps.api.authentication import EitherView, OperatorView
from apps.api.fields import FutureInstant, Reason
from apps.api.idempotent import respond
from apps.api.listing import listed, require_page
from apps.api.parsing import Input, parse
from apps.core.clock import iso
from apps.core.errors import InvalidRequest
from apps.core.money import MAX_CREDITS, credits_to_micros, exact_credits, whole_credits
from apps.credits import allowances
from apps.credits.models import Grant, ScheduledGrant
from apps.organizations.rights import Right
from apps.teams import services as teams


class AutoRefillInput(Input):
    """A recurring allowance in whole credits, every day, week or month."""

    enabled: bool
    refill_amount: int | None = None
    refill_period: Annotated[str, Field(max_length=16)] | None = None
    rollover: bool | None = None
    first_refill_at: FutureInstant | None = None


class ConfigureAutoRefill(OperatorView):
    """POST /api/credits/teams/{team_id}/configure-auto-refill: off keeps the settings."""

    rights = {"POST": Right.CREDITS_WRITE}

    def post(self, request: Request, team_id: str) -> Response:
        body = parse(AutoRefillInput, request)
        amount = body.refill_amount
        if amount is not None and not 0 < amount <= MAX_CREDITS:
            raise InvalidRequest("refill_amount must be a positive integer when enabling auto-refill")

        def effect() -> dict[str, Any]:
            allowances.configure(
                teams.find(team_id),
                enabled=body.enabled,
                amount_micros=None if amount is None else credits_to_micros(amount),
                period=body.refill_period,
                rolls_over=body.rollover,
                first_at=body.first_refill_at,
                actor=self.caller.actor,
            )
            return {"team_id": team_id}

        return respond(self, request, effect=effect, render=self._configured)

    def _configured(self, ids: dict[str, Any], secret: str | None) -> dict[str, Any]:
        refill = allowances.refill_of(teams.find(ids["team_id"]))
        return {
            "team_id": ids["team_id"],
            "auto_refill_enabled": refill.is_enabled,
            **present.auto_refill(refill),
            "message": f"Auto-refill {'enabled' if refill.is_enabled else 'disabled'} successfully",
        }


class ScheduledGrantInput(Input):
    """Whole credits to grant at an instant ahead."""

    credits: Annotated[int, Field(gt=0, le=MAX_CREDITS)]
    effective_at: FutureInstant
    expires_at: FutureInstant | None = None
    kind: Grant.Kind = Field(default=Grant.Kind.PAID, strict=False)
    reason: Reason | None = None


class ScheduledGrants(EitherView):
    """GET (also with the team's own key) and POST /api/credits/teams/{team_id}/scheduled-grants"""

    rights = {"GET": Right.VIEW, "POST": Right.CREDITS_WRITE}

    def get(self, request: Request, team_id: str) -> Response:
        require_page(request)
        team = self.team(team_id, refusal="Cannot access credit balance for a different team")
        found = ScheduledGrant.objects.filter(team=team)
        orders = {"effective_at": "effective_at", "created_at": "created_at"}
        page = listed(request, found, default=50, orders=orders)
        return Response({"team_id": team_id} | page.body("scheduled_grants", (_shown(each) for each in page.rows)))

    def post(self, request: Request, team_id: str) -> Response:
        self.require_operator()
        body = parse(ScheduledGrantInput, request)

        def effect() -> dict[str, Any]:
            planned = allowances.schedule(
                teams.find(team_id),
                amount_micros=credits_to_micros(body.credits),
                effective_at=body.effective_at,
                expires_at=body.expires_at,
                kind=body.kind,
                reason=body.reason or "",
                actor=self.caller.actor,
            )
            return {"id": str(planned.pk)}

        return respond(self, request, effect=effect, render=lambda ids, _: _one(ids["id"]))


class OneScheduledGrant(OperatorView):
    """DELETE /api/credits/teams/{team_id}/scheduled-grants/{grant_id}: dropped before it is posted."""

    rights = {"DELETE": Right.CREDITS_WRITE}

    def delete(self, request: Request, team_id: str, grant_id: str) -> Response:
        return Response(_shown(allowances.cancel(teams.find(team_id), grant_id, actor=self.caller.actor)))


def _one(grant_id: str) -> dict[str, Any]:
    return _shown(ScheduledGrant.objects.get(pk=grant_id))


def _shown(planned: ScheduledGrant) -> dict[str, Any]:
    return {
        "id": str(planned.pk),
        "status": planned.status,
        "kind": planned.kind,
        "credits": whole_credits(planned.amount_micros),
        "credits_exact": exact_credits(planned.amount_micros),
        "effective_at": iso(planned.effective_at),
        "expires_at": iso(planned.expires_at),
        "reason": planned.reason or None,
        "transaction_id": str(planned.entry_id) if planned.entry_id else None,
        "created_at": iso(planned.created_at),
    }
