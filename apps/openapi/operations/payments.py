"""Packs, checkouts, payments and automatic top-ups."""

from apps.api.listing import MAX_PAGE
from apps.api.payments import ChangePackInput, CheckoutInput, CreatePackInput
from apps.api.top_ups import TopUpInput
from apps.openapi import parameters
from apps.openapi.answers.payments import Checkout, Pack, Packs, Payments, TopUp, WebhookReceived
from apps.openapi.bodies import StripeEvent
from apps.openapi.operation import OPERATORS, Operation
from apps.openapi.paths import SIGNATURE
from apps.payments.models import Payment

TAG = "Payments"

OPERATIONS = {
    "GET /api/payments/packs": Operation(
        "List the packs for sale",
        answer=Packs,
        query=(parameters.order("name", "amount", "credits", "created_at"), *parameters.page(MAX_PAGE)),
    ),
    "POST /api/payments/packs": Operation(
        "Offer a pack of credits",
        answer=Pack,
        body=CreatePackInput,
        idempotent=True,
        errors=(400,),
        security=OPERATORS,
    ),
    "PATCH /api/payments/packs/{pack_id}": Operation(
        "Take a pack off sale, or put it back", answer=Pack, body=ChangePackInput
    ),
    "POST /api/payments/checkout": Operation(
        "Make a page to pay for a pack on",
        answer=Checkout,
        body=CheckoutInput,
        idempotent=True,
        errors=(400, 404, 500),
    ),
    "POST /api/payments/webhooks/stripe": Operation(
        "Receive an event of Stripe's", body=StripeEvent, reads=(SIGNATURE,), answer=WebhookReceived, errors=(400,)
    ),
    "GET /api/credits/teams/{team_id}/checkouts/{checkout_id}": Operation("Show a checkout", answer=Checkout),
    "GET /api/credits/teams/{team_id}/payments": Operation(
        "List a team's payments",
        answer=Payments,
        query=(
            parameters.choice("state", "Only payments in this state.", Payment.State.values),
            parameters.order("created_at", "paid_at", "amount"),
            *parameters.page(50),
        ),
    ),
    "GET /api/credits/teams/{team_id}/top-up": Operation(
        "Show a team's automatic top-ups", answer=TopUp, query=(*parameters.page(20),)
    ),
    "PUT /api/credits/teams/{team_id}/top-up": Operation(
        "Consent to automatic top-ups, or withdraw", answer=TopUp, body=TopUpInput, errors=(400,)
    ),
}
