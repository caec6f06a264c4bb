"""Webhooks that meet: PostgreSQL's row locks and unique indexes decide, and each order ends alike."""

import pytest

from apps.payments import webhooks
from apps.payments.interface import Kind, PaymentEvent
from apps.payments.models import Payment, WebhookEvent
from tests.credits import racing
from tests.payments.conftest import PAYMENT, Sale, differences

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]


def handle(event: PaymentEvent):
    return lambda: webhooks.handle("stripe", event)


def paid(sale: Sale, event_id: str = "evt_paid", payment_id: str = PAYMENT) -> PaymentEvent:
    return PaymentEvent(
        id=event_id,
        type="checkout.session.completed",
        kind=Kind.PAID,
        payment_id=payment_id,
        checkout=str(sale.checkout.pk),
        amount_minor=2500,
        currency="USD",
    )


def refunded(event_id: str, total: int) -> PaymentEvent:
    return PaymentEvent(
        id=event_id,
        type="charge.refunded",
        kind=Kind.REFUNDED,
        payment_id=PAYMENT,
        amount_minor=2500,
        currency="USD",
        refunded_minor=total,
    )


def disputed(event_id: str) -> PaymentEvent:
    return PaymentEvent(
        id=event_id, type="charge.dispute.created", kind=Kind.DISPUTED, payment_id=PAYMENT, dispute_id="du_1"
    )


def test_one_event_delivered_eight_times_at_once_gives_once(sale):
    outcomes = racing.at_once([handle(paid(sale))] * 8)

    assert sorted(outcomes) == ["applied", *["repeated"] * 7]
    assert (sale.credits, WebhookEvent.objects.count()) == (350, 1)


def test_two_events_of_one_payment_at_once_give_once(sale):
    outcomes = racing.at_once([handle(paid(sale, f"evt_{number}")) for number in range(8)])

    assert sorted(outcomes) == ["applied", *["ignored"] * 7]
    assert sale.credits == 350


def test_two_payments_of_one_checkout_at_once_give_once(sale):
    outcomes = racing.at_once([handle(paid(sale, f"evt_{number}", f"pi_{number}")) for number in range(4)])

    assert sorted(outcomes) == ["applied", *["flagged"] * 3]
    assert sale.credits == 350
    assert differences() == []


def test_refund_told_by_two_events_at_once_takes_once(sale):
    webhooks.handle("stripe", paid(sale))

    racing.at_once([handle(refunded(f"evt_{number}", 1000)) for number in range(6)])

    assert sale.credits == 250
    assert differences() == []


def test_refunds_and_a_dispute_at_once_take_no_more_than_was_sold(sale):
    webhooks.handle("stripe", paid(sale))
    events = [refunded("evt_1", 500), refunded("evt_2", 1500), refunded("evt_3", 2500), disputed("evt_4")]

    racing.at_once([handle(event) for event in events])

    assert sale.credits == 100
    assert differences() == []


def test_payment_that_waits_for_its_refund_sees_it(sale):
    """The refund is not committed yet when the payment comes: both meet at the payment's row."""
    racing.in_turn(handle(refunded("evt_1", 1000)), handle(paid(sale)))

    assert sale.credits == 250
    assert Payment.objects.count() == 1


def test_refund_that_waits_for_its_payment_sees_it(sale):
    racing.in_turn(handle(paid(sale)), handle(refunded("evt_1", 1000)))

    assert sale.credits == 250
    assert differences() == []
