"""Checkouts over HTTP: a row, then the provider's page, and the same page for a repeat."""

import pytest
import requests
from django.db import connection

from apps.core.models import AuditEntry
from apps.payments.models import Checkout
from apps.virtual_keys import services as virtual_keys
from tests import make
from tests.api.calling import Caller, located
from tests.payments.conftest import post
from tests.payments.stripe_server import KEY, recorded

pytestmark = pytest.mark.django_db


@pytest.fixture
def body(stripe, pack):
    return {
        "pack_id": str(pack.pk),
        "success_url": "https://app.example.com/paid",
        "cancel_url": "https://app.example.com/credits",
    }


def test_checkout_is_a_page_to_pay_on(acme, stripe, team_key, body, pack):
    answer = team_key.post("/api/payments/checkout", body).json()

    assert answer["url"] == "https://checkout.stripe.com/c/pay/cs_test_1"
    assert (answer["state"], answer["credits"], answer["amount"], answer["currency"]) == ("open", 250, 2500, "USD")
    (asked,) = stripe.asked
    assert asked.path == "/v1/checkout/sessions"
    assert asked.form["mode"] == "payment"
    assert asked.form["metadata[checkout_id]"] == asked.form["client_reference_id"] == answer["checkout_id"]
    assert asked.form["payment_intent_data[metadata][checkout_id]"] == answer["checkout_id"]
    assert asked.form["line_items[0][price_data][unit_amount]"] == "2500"
    assert asked.form["line_items[0][price_data][currency]"] == "usd"
    assert asked.form["line_items[0][price_data][product_data][name]"] == "250 credits"
    assert asked.form["success_url"] == body["success_url"]
    assert "payment_intent_data[setup_future_usage]" not in asked.form


def test_requests_are_pinned_authorised_and_named(acme, stripe, team_key, body):
    checkout_id = team_key.post("/api/payments/checkout", body).json()["checkout_id"]

    headers = stripe.asked[0].headers
    assert headers["Stripe-Version"] == "2025-03-31.basil"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Idempotency-Key"] == f"checkout:{checkout_id}"


def test_repeat_with_a_key_gets_the_same_page(acme, stripe, team_key, body):
    first, again = (team_key.post("/api/payments/checkout", body, key="k-1") for _ in range(2))

    assert again.json() == first.json()
    assert again["Idempotency-Replayed"] == "true"
    assert (len(stripe.asked), Checkout.objects.count()) == (1, 1)


@pytest.mark.parametrize("failure", [(500, {}), (429, {}), (200, b"<html>"), (401, {"error": {"code": "x"}})])
def test_page_that_was_not_made_is_made_by_the_repeat(acme, stripe, team_key, body, failure):
    stripe.answers.append(failure)

    first = team_key.post("/api/payments/checkout", body, key="k-1")
    stripe.by_key.clear()
    again = team_key.post("/api/payments/checkout", body, key="k-1")

    assert (first.status_code, first.json()["code"]) == (503, "payment_provider_unavailable")
    assert first["Retry-After"] == "5"
    assert again.json()["url"]
    assert Checkout.objects.count() == 1
    assert {asked.headers["Idempotency-Key"] for asked in stripe.asked} == {f"checkout:{Checkout.objects.get().pk}"}


def test_provider_that_is_away_is_a_clear_503_without_secrets(acme, stripe, settings, team_key, body, caplog):
    settings.STRIPE_API_BASE = "http://127.0.0.1:9"

    answer = team_key.post("/api/payments/checkout", body)

    assert (answer.status_code, answer.json()["code"]) == (503, "payment_provider_unavailable")
    assert KEY not in answer.content.decode() + caplog.text
    assert "127.0.0.1" not in answer.content.decode()


def test_request_that_stripe_refuses_fails_the_checkout(acme, stripe, team_key, body, caplog):
    stripe.answers.append((400, {"error": {"code": "amount_too_small", "message": f"secret {KEY}"}}))

    answer = team_key.post("/api/payments/checkout", body)

    assert (answer.status_code, answer.json()["code"]) == (500, "payment_provider_rejected")
    assert Checkout.objects.get().state == "failed"
    assert "amount_too_small" in caplog.text
    assert KEY not in answer.content.decode() + caplog.text


@pytest.mark.django_db(transaction=True)
def test_no_network_inside_a_transaction(acme, stripe, team_key, body, monkeypatch):
    inside = []
    original = requests.post

    def spy(*args, **more):
        inside.append(connection.in_atomic_block)
        return original(*args, **more)

    monkeypatch.setattr(requests, "post", spy)
    team_key.post("/api/payments/checkout", body)

    assert inside == [False]


def test_saving_the_method_is_asked_for(acme, stripe, team_key, body):
    checkout_id = team_key.post("/api/payments/checkout", body | {"save_payment_method": True}).json()["checkout_id"]

    assert stripe.asked[0].form["payment_intent_data[setup_future_usage]"] == "off_session"
    assert stripe.asked[0].form["customer_creation"] == "always"
    metadata = {"checkout_id": checkout_id}
    answer = post(recorded("payment_intent.succeeded", metadata=metadata, setup_future_usage="off_session"))
    assert answer.json()["outcome"] == "applied"
    assert acme.team.saved_method.method_id == "pm_1TestMethod"


def test_method_is_kept_only_where_it_was_asked_for(sale):
    metadata = {"checkout_id": str(sale.checkout.pk)}

    post(recorded("payment_intent.succeeded", metadata=metadata, setup_future_usage="off_session"))

    assert not hasattr(sale.team, "saved_method")
    assert sale.credits == 100


# --- Refusals ----------------------------------------------------------------------------------------------


def test_without_configuration_nothing_is_written(acme, team_key, pack, settings):
    settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRETS = "", []
    body = {"pack_id": str(pack.pk), "success_url": "https://a.example", "cancel_url": "https://a.example"}

    answer = team_key.post("/api/payments/checkout", body)

    assert (answer.status_code, answer.json()["code"]) == (400, "payments_not_configured")
    assert Checkout.objects.count() == 0


@pytest.mark.parametrize("url", ["javascript:alert(1)", "http://shop.example", "https://", "//x", "https://a b", ""])
def test_wrong_urls_name_their_field(acme, stripe, team_key, body, url):
    assert located(team_key.post("/api/payments/checkout", body | {"success_url": url})) == [["body", "success_url"]]


def test_unknown_and_withdrawn_packs(acme, stripe, team_key, operator, body, pack):
    unknown = team_key.post("/api/payments/checkout", body | {"pack_id": "none"})
    assert operator.patch(f"/api/payments/packs/{pack.pk}", {"is_active": False}).json()["is_active"] is False
    withdrawn = team_key.post("/api/payments/checkout", body)

    assert {(each.status_code, each.json()["code"]) for each in (unknown, withdrawn)} == {
        (404, "credit_pack_not_found")
    }


def test_key_buys_for_its_own_team_and_sees_its_own_checkouts_alone(acme, stripe, team_key, stranger, body):
    made = team_key.post("/api/payments/checkout", body).json()

    assert stranger.post("/api/payments/checkout", body | {"team_id": "acme"}).status_code == 403
    assert stranger.get(f"/api/credits/teams/acme/checkouts/{made['checkout_id']}").status_code == 403
    assert stranger.get(f"/api/credits/teams/globex/checkouts/{made['checkout_id']}").status_code == 404
    assert stranger.get("/api/credits/teams/acme/payments").status_code == 403


def test_operator_says_for_which_team(acme, stripe, operator, body):
    assert located(operator.post("/api/payments/checkout", body)) == [["body", "team_id"]]
    assert operator.post("/api/payments/checkout", body | {"team_id": "acme"}).json()["state"] == "open"


def test_reading_key_buys_nothing(acme, stripe, body):
    _, secret = virtual_keys.issue(acme.team, actor=make.TESTER, name="reader", scopes=["read"])
    reader = Caller({"Authorization": f"Bearer {secret}"})

    assert reader.post("/api/payments/checkout", body).json()["code"] == "scope_missing"


# --- Packs and payments ------------------------------------------------------------------------------------


def test_packs_are_made_by_operators_and_seen_by_keys(acme, operator, team_key):
    body = {"name": "Big", "credits": 1000, "amount": 9000, "currency": "eur"}

    made = operator.post("/api/payments/packs", body, key="p").json()

    assert operator.post("/api/payments/packs", body, key="p").json() == made
    assert (made["currency"], made["amount"]) == ("EUR", 9000)
    assert team_key.get("/api/payments/packs").json()["packs"] == [made]
    assert operator.post("/api/payments/packs", body).status_code == 400
    assert team_key.post("/api/payments/packs", body).status_code == 401
    operator.patch(f"/api/payments/packs/{made['pack_id']}", {"is_active": False})
    assert team_key.get("/api/payments/packs").json()["packs"] == []
    assert AuditEntry.objects.filter(object_kind="credit_pack").count() == 2


@pytest.mark.parametrize(
    "wrong", [{"credits": 0}, {"amount": 0}, {"amount": 1.5}, {"currency": "E1R"}, {"currency": "EU"}, {"name": ""}]
)
def test_wrong_packs_name_their_field(operator, wrong):
    body = {"name": "Big", "credits": 1000, "amount": 9000, "currency": "EUR"} | wrong

    assert located(operator.post("/api/payments/packs", body)) == [["body", *wrong]]


def test_payments_are_listed_with_what_became_of_them(sale, team_key):
    sale.send("checkout.session.completed")
    sale.send("charge.refunded")
    sale.send("charge.dispute.created")

    listed = team_key.get("/api/credits/teams/acme/payments").json()

    assert listed["total"] == 1
    payment = listed["payments"][0]
    assert (payment["status"], payment["amount"], payment["amount_refunded"]) == ("partially_refunded", 2500, 1000)
    assert payment["disputes"] == [{"dispute_id": "du_1TestDispute", "state": "open", "reason": "fraudulent"}]
