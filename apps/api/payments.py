"""Credits for money: packs, checkouts, payments, and the webhook that alone gives them. Amounts in minor units."""

from typing import Annotated, Any
from urllib.parse import urlsplit

from django.db import transaction
from pydantic import AfterValidator, Field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.api.authentication import EitherView, OperatorView
from apps.api.fields import query_choice
from apps.api.idempotent import answer, respond
from apps.api.listing import MAX_PAGE, listed, require_page
from apps.api.parsing import Input, Text255, parse
from apps.core import bodies, idempotency
from apps.core.clock import iso
from apps.core.money import MAX_CREDITS
from apps.organizations.rights import Right
from apps.payments import checkouts, currencies, packs, webhooks
from apps.payments.models import Checkout, CreditPack, Payment
from apps.payments.providers import provider

MAX_MINOR = 1_000_000_000_000
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _page_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)):
        raise ValueError("Must be a URL that begins with https:// (http:// for localhost)")
    if any(ord(letter) <= 32 for letter in value):
        raise ValueError("Must be a URL without spaces")
    return value


PageUrl = Annotated[str, Field(max_length=2048), AfterValidator(_page_url)]
Minor = Annotated[int, Field(gt=0, le=MAX_MINOR)]


class CreatePackInput(Input):
    """Whole credits at a price in the currency's minor unit."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    credits: Annotated[int, Field(gt=0, le=MAX_CREDITS)]
    amount: Minor
    currency: Annotated[str, Field(max_length=3)] = currencies.USD


class ChangePackInput(Input):
    """Whether a pack is for sale."""

    is_active: bool


class CheckoutInput(Input):
    """What is to be paid, and where the customer goes afterwards; operators say for which team."""

    pack_id: Text255
    success_url: PageUrl
    cancel_url: PageUrl
    save_payment_method: bool = False
    team_id: Text255 | None = None


class PackList(EitherView):
    """GET /api/payments/packs: those for sale, to operators all. POST: operators alone."""

    rights = {"GET": Right.VIEW, "POST": Right.CREDITS_WRITE}

    def get(self, request: Request) -> Response:
        found = CreditPack.objects.all() if self.caller.is_operator else CreditPack.objects.filter(is_active=True)
        orders = {"name": "name", "amount": "amount_minor", "credits": "credits", "created_at": "created_at"}
        page = listed(request, found, default=MAX_PAGE, orders=orders)
        return Response(page.body("packs", (_pack(each) for each in page.rows)))

    def post(self, request: Request) -> Response:
        self.require_operator()
        body = parse(CreatePackInput, request)

        def effect() -> dict[str, Any]:
            pack = packs.create(
                name=body.name,
                credits=body.credits,
                amount_minor=body.amount,
                currency=currencies.parse_code("currency", body.currency),
                actor=self.caller.actor,
            )
            return {"pack_id": str(pack.pk)}

        return respond(
            self, request, effect=effect, render=lambda ids, _: _pack(packs.find(ids["pack_id"], for_sale=False))
        )


class OnePack(OperatorView):
    """PATCH /api/payments/packs/{pack_id}: for sale or not."""

    rights = {"PATCH": Right.CREDITS_WRITE}

    def patch(self, request: Request, pack_id: str) -> Response:
        body = parse(ChangePackInput, request)
        pack = packs.find(pack_id, for_sale=False)
        return Response(_pack(packs.set_active(pack, body.is_active, actor=self.caller.actor)))


class CreateCheckout(EitherView):
    """POST /api/payments/checkout: a page to pay on. With an Idempotency-Key a repeat gets the same page."""

    rights = {"POST": Right.CREDITS_WRITE}

    def post(self, request: Request) -> Response:
        body = parse(CheckoutInput, request)
        provider()
        team_id = self.acting_team_id(body.team_id, purpose="makes the checkout")
        team = self.team(team_id, refusal=f"API key does not belong to team '{team_id}'")
        key = self.idempotent(request)
        with transaction.atomic():
            slot = idempotency.claim(key) if key else None
            if slot is not None and slot.is_replay:
                checkout = checkouts.find(team, slot.result["checkout_id"])
            else:
                checkout = checkouts.create(
                    team,
                    packs.find(body.pack_id),
                    success_url=body.success_url,
                    cancel_url=body.cancel_url,
                    saves_method=body.save_payment_method,
                    actor=self.caller.actor,
                )
                if slot is not None:
                    slot.record({"checkout_id": str(checkout.pk)})
        # The row is committed: whatever happens from here on, the key leads back to it.
        shown = _checkout(checkouts.with_page(checkout))
        return answer(shown, is_replay=slot is not None and slot.is_replay)


class OneCheckout(EitherView):
    """GET /api/credits/teams/{team_id}/checkouts/{checkout_id}"""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, team_id: str, checkout_id: str) -> Response:
        team = self.team(team_id, refusal="Cannot access checkouts of a different team")
        return Response(_checkout(checkouts.find(team, checkout_id)))


class TeamPayments(EitherView):
    """GET /api/credits/teams/{team_id}/payments: newest first, with their true number."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, team_id: str) -> Response:
        require_page(request)
        team = self.team(team_id, refusal="Cannot access payments of a different team")
        payments = Payment.objects.for_team(team).select_related("entry", "checkout", "attempt")
        state = query_choice(request, "state", Payment.State.values)
        if state is not None:
            payments = payments.filter(state=state)
        orders = {"created_at": "created_at", "paid_at": "paid_at", "amount": "amount_minor"}
        found = listed(request, payments.prefetch_related("disputes"), default=50, orders=orders)
        return Response({"team_id": team_id} | found.body("payments", (_payment(each) for each in found.rows)))


class StripeWebhook(APIView):
    """POST /api/payments/webhooks/stripe: believed by its signature alone."""

    def post(self, request: Request) -> Response:
        body = bodies.raw_body(request._request)
        return Response({"received": True, "outcome": webhooks.receive(request.headers, body)})


def _pack(found: CreditPack) -> dict[str, Any]:
    return {
        "pack_id": str(found.pk),
        "name": found.name,
        "credits": found.credits,
        "amount": found.amount_minor,
        "currency": found.currency,
        "is_active": found.is_active,
        "created_at": iso(found.created_at),
    }


def _checkout(found: Checkout) -> dict[str, Any]:
    return {
        "checkout_id": str(found.pk),
        "url": found.url or None,
        "state": found.state,
        "pack_id": str(found.pack_id),
        "credits": found.credits,
        "amount": found.amount_minor,
        "currency": found.currency,
        "save_payment_method": found.saves_method,
        "created_at": iso(found.created_at),
    }


def _payment(found: Payment) -> dict[str, Any]:
    sold = found.checkout or found.attempt
    return {
        "payment_id": found.provider_payment_id,
        "provider": found.provider,
        "status": found.status,
        "amount": found.amount_minor,
        "currency": found.currency,
        "amount_refunded": found.refunded_minor,
        "credits": sold.credits if sold else None,
        "transaction_id": str(found.entry_id) if found.entry_id else None,
        "checkout_id": str(found.checkout_id) if found.checkout_id else None,
        "top_up_attempt_id": str(found.attempt_id) if found.attempt_id else None,
        "disputes": [
            {"dispute_id": each.provider_dispute_id, "state": each.state, "reason": each.reason or None}
            for each in found.disputes.all()
        ],
        "paid_at": iso(found.paid_at),
    }
