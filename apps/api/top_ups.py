"""Automatic top-ups: a team's consent, its ceiling, and every attempt."""

from typing import Annotated, Any

from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.authentication import EitherView
from apps.api.listing import page
from apps.api.parsing import Input, Text255, parse
from apps.api.payments import Minor, PageUrl
from apps.core import clock
from apps.core.clock import iso
from apps.core.errors import InvalidField
from apps.core.money import MAX_CREDITS, credits_to_micros, whole_credits
from apps.organizations.rights import Right
from apps.payments import packs, topups
from apps.payments.models import TopUp, TopUpAttempt
from apps.teams.models import Team


class TopUpInput(Input):
    """A consent, or its withdrawal by `enabled: false` alone. Amounts in the pack's minor unit."""

    enabled: bool
    threshold_credits: Annotated[int, Field(gt=0, le=MAX_CREDITS)] | None = None
    pack_id: Text255 | None = None
    monthly_ceiling: Minor | None = None
    return_url: PageUrl | None = None


class TeamTopUp(EitherView):
    """GET, PUT /api/credits/teams/{team_id}/top-up"""

    rights = {"GET": Right.VIEW, "PUT": Right.CREDITS_WRITE}

    def get(self, request: Request, team_id: str) -> Response:
        limit, offset = page(request, default=20)
        team = self.team(team_id, refusal="Cannot access top-ups of a different team")
        return Response(_shown(team, topups.find(team), limit=limit, offset=offset))

    def put(self, request: Request, team_id: str) -> Response:
        body = parse(TopUpInput, request)
        if self.caller.principal is not None:
            self.caller.principal.require_scope("jobs")
        team = self.team(team_id, refusal="Cannot access top-ups of a different team")
        if not body.enabled:
            return Response(_shown(team, topups.switch_off(team, actor=self.caller.actor)))
        for name in ("threshold_credits", "pack_id", "monthly_ceiling", "return_url"):
            if getattr(body, name) is None:
                raise InvalidField(name, f"{name} is needed to enable top-ups.", kind="missing")
        assert body.threshold_credits is not None
        assert body.pack_id is not None
        assert body.monthly_ceiling is not None
        assert body.return_url is not None
        found = topups.configure(
            team,
            threshold_micros=credits_to_micros(body.threshold_credits),
            pack=packs.find(body.pack_id),
            monthly_ceiling_minor=body.monthly_ceiling,
            return_url=body.return_url,
            actor=self.caller.actor,
        )
        return Response(_shown(team, found))


def _shown(team: Team, found: TopUp | None, *, limit: int = 20, offset: int = 0) -> dict[str, Any]:
    attempts = TopUpAttempt.objects.for_team(team)
    body: dict[str, Any] = {"team_id": team.team_id, "enabled": False}
    if found is not None:
        body |= {
            "enabled": found.is_enabled,
            "disabled_reason": found.disabled_reason or None,
            "threshold_credits": whole_credits(found.threshold_micros),
            "pack_id": str(found.pack_id),
            "credits": found.credits,
            "amount": found.amount_minor,
            "currency": found.currency,
            "monthly_ceiling": found.monthly_ceiling_minor,
            "spent_this_month": topups.spent_in_month(found, clock.now()),
            "return_url": found.return_url,
            "consented_by": found.consented_by,
            "consented_at": iso(found.consented_at),
            "next_attempt_at": iso(found.next_attempt_at),
        }
    return body | {
        "total_attempts": attempts.count(),
        "attempts": [_attempt(each) for each in attempts[offset : offset + limit]],
    }


def _attempt(found: TopUpAttempt) -> dict[str, Any]:
    return {
        "attempt_id": str(found.pk),
        "state": found.state,
        "credits": found.credits,
        "amount": found.amount_minor,
        "currency": found.currency,
        "payment_id": found.provider_payment_id or None,
        "action_url": found.action_url or None,
        "error_code": found.error_code or None,
        "created_at": iso(found.created_at),
        "ended_at": iso(found.ended_at),
    }
