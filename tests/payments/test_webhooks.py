"""Webhooks: signed ones alone are believed, each is handled once, and they alone give credits."""

import json

import pytest

from apps.core.models import Event
from apps.credits.models import Entry, Grant
from apps.payments import packs, providers
from apps.payments.models import Checkout, Payment, WebhookEvent
from apps.payments.stripe import _READERS
from apps.provisioning import credits as provisioning
from tests import make
from tests.payments.conftest import PAYMENT, Sale, differences, post
from tests.payments.stripe_server import SECRET, recorded, signature

pytestmark = pytest.mark.django_db


def nothing_happened(sale: Sale) -> bool:
    return (sale.credits, sale.state, Payment.objects.count(), WebhookEvent.objects.count()) == (100, "open", 0, 0)


def test_paid_checkout_gives_its_credits(sale):
    answer = sale.send("checkout.session.completed")

    assert (answer.status_code, answer.json()) == (200, {"received": True, "outcome": "applied"})
    assert (sale.credits, sale.state) == (350, "paid")
    payment = Payment.objects.get()
    assert (payment.provider_payment_id, payment.status, payment.amount_minor) == (PAYMENT, "paid", 2500)
    assert payment.entry.external_id == PAYMENT
    assert payment.entry.source == "payment:one_time"
    assert Grant.objects.get(entry=payment.entry).price_nanousd_per_credit == 100_000_000
    assert differences() == []


def test_price_per_credit_of_another_currency_is_told_where_there_is_a_rate(sale):
    pack = packs.create(name="Yen", credits=100, amount_minor=1500, currency="JPY", actor=make.TESTER)
    Checkout.objects.filter(pk=sale.checkout.pk).update(pack=pack, credits=100, amount_minor=1500, currency="JPY")

    sale.send("checkout.session.completed", amount_total=1500, currency="jpy")

    assert sale.credits == 200
    assert Grant.objects.get(entry__external_id=PAYMENT).price_nanousd_per_credit is None


def test_method_that_takes_days_is_paid_when_the_money_is_there(sale):
    assert sale.send("checkout.session.completed", payment_status="unpaid").json()["outcome"] == "ignored"
    assert sale.credits == 100

    sale.send("checkout.session.async_payment_succeeded")

    assert (sale.credits, sale.state) == (350, "paid")


def test_method_that_takes_days_may_fail(sale):
    sale.send("checkout.session.completed", payment_status="unpaid")
    sale.send("checkout.session.async_payment_failed")

    assert (sale.credits, sale.state) == (100, "failed")


def test_abandoned_page_expires(sale):
    sale.send("checkout.session.expired")

    assert (sale.credits, sale.state) == (100, "expired")


def test_B14_credits_come_by_the_webhook_alone(sale, team_key):
    shown = team_key.get(f"/api/credits/teams/acme/checkouts/{sale.checkout.pk}").json()

    assert shown["state"] == "open"
    assert nothing_happened(sale)


# --- Once --------------------------------------------------------------------------------------------------


def test_event_that_is_sent_again_changes_nothing(sale):
    sale.send("checkout.session.completed")

    again = sale.send("checkout.session.completed")

    assert (again.status_code, again.json()["outcome"]) == (200, "repeated")
    assert sale.credits == 350


def test_two_events_of_one_payment_give_once(sale):
    sale.send("checkout.session.completed")

    sale.send("checkout.session.async_payment_succeeded")

    assert sale.credits == 350
    assert Entry.objects.filter(external_id=PAYMENT).count() == 1


def test_second_payment_of_one_checkout_is_flagged(sale):
    sale.send("checkout.session.completed")

    other = sale.send("checkout.session.completed", event_id="evt_other", payment_intent="pi_other")

    assert other.json()["outcome"] == "flagged"
    assert (sale.credits, sale.state) == (350, "paid")
    assert Payment.objects.get(provider_payment_id="pi_other").note == "It was paid before, by another payment."
    assert Event.objects.filter(kind="payment.flagged").exists()


def test_payment_that_an_operator_entered_by_hand_is_not_given_twice(sale):
    provisioning.replenish(
        sale.team, credits=250, payment_type="one_time", payment_id=PAYMENT, actor=make.TESTER, key="by hand"
    )

    answer = sale.send("checkout.session.completed")

    assert answer.json()["outcome"] == "flagged"
    assert sale.credits == 350


# --- What does not fit is flagged, not granted -------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [{"amount_total": 2499}, {"amount_total": None}, {"currency": "eur"}, {"amount_total": 250_000}]
)
def test_other_amount_or_currency_is_flagged(sale, wrong):
    answer = sale.send("checkout.session.completed", **wrong)

    assert (answer.status_code, answer.json()["outcome"]) == (200, "flagged")
    assert (sale.credits, sale.state) == (100, "failed")
    assert Payment.objects.get().note.startswith("Paid ")


def test_later_price_of_the_pack_does_not_matter(sale, pack):
    type(pack).objects.update(amount_minor=9900, credits=1)

    sale.send("checkout.session.completed")

    assert sale.credits == 350


def test_session_of_another_checkout_is_not_believed(sale):
    answer = sale.send("checkout.session.completed", id="cs_test_of_somebody")

    assert answer.json()["outcome"] == "flagged"
    assert sale.credits == 100


def test_unknown_checkout_is_flagged(sale):
    unknown = "0192e4a0-0000-7000-8000-000000000000"

    answer = sale.send("checkout.session.completed", metadata={"checkout_id": unknown})

    assert answer.json()["outcome"] == "flagged"
    assert Payment.objects.get().state == "flagged"


def test_more_than_a_team_may_have_is_flagged_and_not_lost(sale):
    Checkout.objects.filter(pk=sale.checkout.pk).update(credits=1_000_000_000_000)

    answer = sale.send("checkout.session.completed")

    assert (answer.status_code, answer.json()["outcome"]) == (200, "flagged")
    assert sale.credits == 100


@pytest.mark.parametrize("metadata", [{}, None, {"checkout_id": 7}, {"order": "of another shop"}])
def test_what_the_account_sells_otherwise_is_ignored(sale, metadata):
    answer = sale.send("checkout.session.completed", metadata=metadata)

    assert answer.json()["outcome"] == "ignored"
    assert Payment.objects.count() == 0


def test_unknown_types_are_ignored_with_200(sale):
    body = json.loads(recorded("checkout.session.completed")) | {"type": "customer.created"}

    answer = post(json.dumps(body).encode())

    assert (answer.status_code, answer.json()["outcome"]) == (200, "ignored")


def test_test_payment_gives_nothing_on_a_live_installation(sale, settings):
    settings.STRIPE_SECRET_KEY = "sk_live_of_nobody"

    assert sale.send("checkout.session.completed").json()["outcome"] == "ignored"
    assert sale.credits == 100


# --- Forged ------------------------------------------------------------------------------------------------


def forged(sale: Sale) -> bytes:
    return recorded(
        "checkout.session.completed",
        id=sale.checkout.provider_session_id,
        metadata={"checkout_id": str(sale.checkout.pk)},
    )


HEADERS = {
    "missing": lambda body: "",
    "another secret": lambda body: signature(body, secret="whsec_of_somebody"),
    "an empty secret": lambda body: signature(body, secret=""),
    "altered body": lambda body: signature(body.replace(b"2500", b"1")),
    "six minutes old": lambda body: signature(body, age_s=360),
    "six minutes ahead": lambda body: signature(body, age_s=-360),
    "no timestamp": lambda body: signature(body).split(",", 1)[1],
    "another timestamp": lambda body: "t=1," + signature(body).split(",", 1)[1],
    "two timestamps": lambda body: "t=1," + signature(body),
    "words for a timestamp": lambda body: signature(body).replace("t=", "t=x"),
    "only an old scheme": lambda body: signature(body).replace("v1=", "v2="),
    "not in ASCII": lambda body: "t=1,v1=\xe4",
    "noise": lambda body: "=,=,,t,v1",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_forged_webhook_changes_nothing(sale, header):
    body = forged(sale)

    answer = post(body, header=header(body))

    assert (answer.status_code, answer.json()["code"]) == (400, "webhook_signature_invalid")
    assert nothing_happened(sale)


def test_signature_covers_every_byte(sale):
    body = forged(sale)

    answer = post(body + b" ", header=signature(body))

    assert answer.status_code == 400
    assert nothing_happened(sale)


def test_any_of_several_secrets_will_do_while_one_is_rotated(sale, settings):
    settings.STRIPE_WEBHOOK_SECRETS = ["whsec_new", SECRET]
    sale.send("checkout.session.completed")

    assert sale.credits == 350


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b'{"id": 1, "type": "x"}', b"\xff", b'{"id": "evt_1"}'])
def test_signed_noise_is_a_clear_400(stripe, db, body):
    answer = post(body)

    assert (answer.status_code, answer.json()["code"]) == (400, "webhook_malformed")


@pytest.mark.parametrize("subject", [None, 7, [], {}, {"payment_intent": {"id": 7}, "metadata": []}])
@pytest.mark.parametrize("kind", sorted(_READERS))
def test_signed_event_without_its_content_is_no_failure(stripe, db, kind, subject):
    event = {"id": f"evt_{kind}", "type": kind, "data": {"object": subject}}

    answer = post(json.dumps(event).encode())

    assert (answer.status_code, answer.json()["outcome"]) == (200, "ignored")


def test_webhooks_without_configuration_are_refused(db, settings):
    settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRETS = "", []
    body = recorded("checkout.session.completed")

    answer = post(body, header=signature(body, secret=""))

    assert (answer.status_code, answer.json()["code"]) == (400, "payments_not_configured")
    assert not providers.is_configured()


def test_key_alone_does_not_configure_payments(db, settings):
    """Without a webhook secret money would be taken and no credits given."""
    settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRETS = "sk_test_x", []

    assert not providers.is_configured()
