"""Vouchers: operators make and withdraw them, a team's key redeems them."""

from typing import Annotated, Any

from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present
from apps.api.authentication import EitherView, OperatorView
from apps.api.fields import FutureInstant, Label, query_flag, query_text
from apps.api.idempotent import respond
from apps.api.listing import listed
from apps.api.parsing import Input, Text255, parse
from apps.core import clock
from apps.core.clock import iso
from apps.core.money import MAX_CREDITS, credits_to_micros, exact_credits, whole_credits
from apps.credits import billing, vouchers
from apps.credits.models import Grant, Redemption, Voucher
from apps.organizations import services as organizations
from apps.organizations.rights import Right


class CreateVoucherInput(Input):
    """A voucher of whole credits. Its code can be used by `max_uses` teams, once by each."""

    credits: Annotated[int, Field(gt=0, le=MAX_CREDITS)]
    kind: Grant.Kind = Field(default=Grant.Kind.PROMOTIONAL, strict=False)
    max_uses: Annotated[int, Field(gt=0, le=1_000_000)] = 1
    organization_id: Text255 | None = None
    expires_at: FutureInstant | None = None
    credits_last_days: Annotated[int, Field(gt=0, le=36_500)] | None = None
    note: Label | None = None


class RedeemInput(Input):
    """A voucher's code; operators say for which team."""

    code: Annotated[str, Field(min_length=1, max_length=64)]
    team_id: Text255 | None = None


class VoucherList(OperatorView):
    """GET and POST /api/vouchers: the code is in the answer to POST alone."""

    rights = {"GET": Right.VIEW, "POST": Right.CREDITS_WRITE}

    def get(self, request: Request) -> Response:
        matching = vouchers.matching(
            organization_id=query_text(request, "organization_id"),
            is_usable=query_flag(request, "usable"),
        )
        found = listed(request, matching, default=50, orders={"created_at": "created_at", "expires_at": "expires_at"})
        return Response(found.body("vouchers", (_shown(each) for each in found.rows)))

    def post(self, request: Request) -> Response:
        body = parse(CreateVoucherInput, request)

        def effect() -> tuple[dict[str, Any], str]:
            voucher, code = vouchers.create(
                amount_micros=credits_to_micros(body.credits),
                kind=body.kind,
                max_uses=body.max_uses,
                organization=organizations.find(body.organization_id) if body.organization_id else None,
                expires_at=body.expires_at,
                credits_last_days=body.credits_last_days,
                note=body.note or "",
                actor=self.caller.actor,
            )
            return {"voucher_id": str(voucher.pk)}, code

        return respond(
            self,
            request,
            effect=effect,
            render=lambda ids, code: _shown(vouchers.find(ids["voucher_id"])) | {"code": code},
        )


class OneVoucher(OperatorView):
    """GET and DELETE /api/vouchers/{voucher_id}: a withdrawn one is kept, with who redeemed it."""

    rights = {"GET": Right.VIEW, "DELETE": Right.CREDITS_WRITE}

    def get(self, request: Request, voucher_id: str) -> Response:
        found = vouchers.find(voucher_id)
        redeemed = found.redemptions.select_related("team")[:1000]
        return Response(_shown(found) | {"redemptions": [_redeemed(each) for each in redeemed]})

    def delete(self, request: Request, voucher_id: str) -> Response:
        return Response(_shown(vouchers.disable(voucher_id, actor=self.caller.actor)))


class RedeemVoucher(EitherView):
    """POST /api/vouchers/redeem"""

    rights = {"POST": Right.CREDITS_WRITE}

    def post(self, request: Request) -> Response:
        body = parse(RedeemInput, request)
        team_id = self.acting_team_id(body.team_id, purpose="redeems the voucher")

        def effect() -> dict[str, Any]:
            team = self.team(team_id, refusal=f"API key does not belong to team '{team_id}'")
            return {"redemption_id": str(vouchers.redeem(team, body.code, actor=self.caller.actor).pk)}

        return respond(self, request, effect=effect, render=lambda ids, _: self._redeemed(ids["redemption_id"]))

    def _redeemed(self, redemption_id: str) -> dict[str, Any]:
        found = Redemption.objects.select_related("voucher", "team__organization", "entry").get(pk=redemption_id)
        team = found.team
        lot = Grant.objects.get(entry=found.entry)
        return {
            "voucher_id": str(found.voucher_id),
            "team_id": team.team_id,
            "credits_added": whole_credits(lot.amount_micros),
            "credits_expire_at": iso(lot.expires_at),
            "transaction": present.transaction(team, billing.posting(team, str(found.entry_id))),
            **billing.balance(team).as_wire(),
        }


def _redeemed(found: Redemption) -> dict[str, Any]:
    return {
        "team_id": found.team.team_id,
        "redeemed_at": iso(found.created_at),
        "transaction_id": str(found.entry_id),
    }


def _shown(found: Voucher) -> dict[str, Any]:
    return {
        "voucher_id": str(found.pk),
        "status": _status(found),
        "hint": found.hint,
        "kind": found.kind,
        "credits": whole_credits(found.amount_micros),
        "credits_exact": exact_credits(found.amount_micros),
        "max_uses": found.max_uses,
        "uses": found.uses,
        "organization_id": found.organization.organization_id if found.organization else None,
        "expires_at": iso(found.expires_at),
        "credits_last_days": found.credits_last_days,
        "note": found.note or None,
        "created_by": found.created_by,
        "created_at": iso(found.created_at),
        "disabled_at": iso(found.disabled_at),
    }


def _status(found: Voucher) -> str:
    if found.disabled_at is not None:
        return "disabled"
    if found.expires_at is not None and found.expires_at <= clock.now():
        return "expired"
    return "used" if found.uses >= found.max_uses else "active"
