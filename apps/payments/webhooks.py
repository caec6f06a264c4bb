"""Events of a payment provider: each verified, then handled once. They alone give credits for money.

Events come twice, late and in any order. What is known of a payment is therefore a state that no order changes:
how much was paid, how much refunded in all, which disputes are open or lost. `settlement` brings the ledger to it.
"""

from collections.abc import Mapping

from django.db import IntegrityError, transaction

from apps.core import audit
from apps.core.actors import Actor
from apps.core.ids import parse_uuid
from apps.payments import attempts, settlement
from apps.payments.interface import Kind, PaymentEvent
from apps.payments.models import Checkout, Dispute, Payment, SavedMethod, TopUpAttempt, WebhookEvent
from apps.payments.providers import provider

Outcome = WebhookEvent.Outcome


def receive(headers: Mapping[str, str], body: bytes) -> str:
    """Verify an event and do what it says, once. Returns the outcome, `repeated` for one that came before.

    Raises: WebhookSignatureInvalid, WebhookMalformed, PaymentsNotConfigured; then nothing was done.
    """
    asked = provider()
    return handle(asked.name, asked.parse_webhook(headers, body))


def handle(name: str, event: PaymentEvent) -> str:
    """Do what a verified event says, once."""
    with transaction.atomic():
        try:
            with transaction.atomic():
                # A twin waits here for the first one's transaction, and does nothing after it.
                row = WebhookEvent.objects.create(provider=name, event_id=event.id, type=event.type)
        except IntegrityError:
            return "repeated"
        handler = _HANDLERS.get(event.kind)
        if handler is None:
            return Outcome.IGNORED
        row.outcome, row.note, row.payment = handler(name, event)
        row.save(update_fields=["outcome", "note", "payment"])
        if row.outcome == Outcome.FLAGGED:
            audit.emit("payment.flagged", subject=f"webhook_event:{row.pk}", note=row.note)
        return row.outcome


Handled = tuple[WebhookEvent.Outcome, str, Payment | None]


def _paid(name: str, event: PaymentEvent) -> Handled:
    if not event.payment_id:
        return Outcome.FLAGGED, "It names no payment.", None
    payment = settlement.locked_payment(name, event.payment_id)
    if payment.state != Payment.State.EXPECTED:
        return Outcome.IGNORED, "The payment had arrived before.", payment
    checkout, attempt = _checkout(event, name), _attempt(event)
    sold = checkout or attempt
    problem = settlement.take_in(payment, event, checkout=checkout, attempt=attempt)
    if sold is None or problem:
        return Outcome.FLAGGED, problem, payment
    return Outcome.APPLIED, "", payment


def _method_saved(name: str, event: PaymentEvent) -> Handled:
    checkout = _checkout(event, name)
    if checkout is None or not (checkout.saves_method and event.customer_id and event.method_id):
        return Outcome.IGNORED, "", None
    SavedMethod.objects.update_or_create(
        team_id=checkout.team_id,
        defaults={"provider": name, "customer_id": event.customer_id, "method_id": event.method_id},
    )
    audit.record(
        "team.payment_method",
        actor=Actor("provider", name),
        kind="team",
        id=checkout.team.team_id,
        after={"saved": True},
    )
    return Outcome.APPLIED, "", None


def _ended(name: str, event: PaymentEvent) -> Handled:
    checkout, attempt = _checkout(event, name), _attempt(event)
    code = event.error_code or ("expired" if event.kind == Kind.EXPIRED else "declined")
    if attempt is not None:
        attempts.fail(attempt, code)
    if checkout is not None:
        state = Checkout.State.EXPIRED if event.kind == Kind.EXPIRED else Checkout.State.FAILED
        Checkout.objects.filter(pk=checkout.pk, state=Checkout.State.OPEN).update(state=state)
    return (Outcome.APPLIED if checkout or attempt else Outcome.IGNORED), "", None


def _requires_action(name: str, event: PaymentEvent) -> Handled:
    attempt = _attempt(event)
    if attempt is None:
        return Outcome.IGNORED, "", None
    attempts.ask_customer(attempt, payment_id=event.payment_id, url=event.action_url, code=event.error_code)
    return Outcome.APPLIED, "", None


def _refunded(name: str, event: PaymentEvent) -> Handled:
    payment = settlement.locked_payment(name, event.payment_id)
    if event.refunded_minor <= payment.refunded_minor:
        return Outcome.IGNORED, "A later refund was told before.", payment
    payment.refunded_minor = event.refunded_minor
    if payment.amount_minor is None:
        payment.amount_minor, payment.currency = event.amount_minor, event.currency
    payment.save(update_fields=["refunded_minor", "amount_minor", "currency"])
    settlement.settle(payment, cause=event)
    return Outcome.APPLIED, "", payment


def _refund_failed(name: str, event: PaymentEvent) -> Handled:
    payment = settlement.locked_payment(name, event.payment_id)
    # Which credits it had taken is a person's to say: the provider's total is lower only from its next event on.
    return Outcome.FLAGGED, "A refund failed: the credits that it took back are to be granted again.", payment


def _disputed(name: str, event: PaymentEvent) -> Handled:
    if not event.dispute_id:
        return Outcome.FLAGGED, "It names no dispute.", None
    payment = settlement.locked_payment(name, event.payment_id)
    dispute, is_new = Dispute.objects.get_or_create(
        provider_dispute_id=event.dispute_id, defaults={"payment": payment, "reason": event.error_code}
    )
    if dispute.payment_id != payment.pk:
        return Outcome.FLAGGED, "The dispute is another payment's.", payment
    state = _DISPUTE_STATES[event.kind]
    # Closed is closed, whatever comes late.
    if dispute.state == Dispute.State.OPEN and (is_new or state != Dispute.State.OPEN):
        dispute.state = state
        dispute.save(update_fields=["state", "updated_at"])
        settlement.settle(payment, cause=event)
        return Outcome.APPLIED, "", payment
    return Outcome.IGNORED, "The dispute was known.", payment


_DISPUTE_STATES = {
    Kind.DISPUTED: Dispute.State.OPEN,
    Kind.DISPUTE_WON: Dispute.State.WON,
    Kind.DISPUTE_LOST: Dispute.State.LOST,
}
_HANDLERS = {
    Kind.PAID: _paid,
    Kind.METHOD_SAVED: _method_saved,
    Kind.FAILED: _ended,
    Kind.EXPIRED: _ended,
    Kind.REQUIRES_ACTION: _requires_action,
    Kind.REFUNDED: _refunded,
    Kind.REFUND_FAILED: _refund_failed,
    Kind.DISPUTED: _disputed,
    Kind.DISPUTE_WON: _disputed,
    Kind.DISPUTE_LOST: _disputed,
}


def _checkout(event: PaymentEvent, name: str) -> Checkout | None:
    """The checkout that the event is about; its session, where both are known, is the same."""
    parsed = parse_uuid(event.checkout) if event.checkout else None
    found = Checkout.objects.select_related("team").filter(pk=parsed, provider=name).first() if parsed else None
    if found is None or (event.session_id and found.provider_session_id not in (None, event.session_id)):
        return None
    return found


def _attempt(event: PaymentEvent) -> TopUpAttempt | None:
    parsed = parse_uuid(event.attempt) if event.attempt else None
    return TopUpAttempt.objects.select_related("team").filter(pk=parsed).first() if parsed else None
