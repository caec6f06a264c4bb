"""A pack, a checkout of it, and Stripe's events about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from apps.credits import verification as ledger_checks
from apps.payments import checkouts, packs, verification
from apps.payments.models import Checkout, CreditPack
from tests import make
from tests.api.calling import Caller
from tests.credits import books
from tests.payments import stripe_server
from tests.payments.stripe_server import FakeStripe, recorded, signature

PAYMENT = "pi_3TestPayment1"


@pytest.fixture
def stripe(settings: Any) -> Iterator[FakeStripe]:
    with stripe_server.running() as fake:
        settings.STRIPE_SECRET_KEY = stripe_server.KEY
        settings.STRIPE_WEBHOOK_SECRETS = [stripe_server.SECRET]
        settings.STRIPE_API_BASE = fake.base
        yield fake


@pytest.fixture
def pack(db: None) -> CreditPack:
    """250 credits for 25 dollars."""
    return packs.create(name="250 credits", credits=250, amount_minor=2500, currency="USD", actor=make.TESTER)


@dataclass
class Sale:
    """A team's open checkout, and the webhooks that Stripe sends about it."""

    team: Any
    checkout: Checkout

    def send(self, name: str, **changes: Any) -> Any:
        if name.startswith("checkout."):
            changes.setdefault("client_reference_id", str(self.checkout.pk))
            changes.setdefault("metadata", {"checkout_id": str(self.checkout.pk)})
            changes.setdefault("id", self.checkout.provider_session_id)
        return post(recorded(name, **changes))

    @property
    def credits(self) -> int:
        return books.figures(self.team)["posted"]

    @property
    def state(self) -> str:
        return Checkout.objects.get(pk=self.checkout.pk).state


def post(body: bytes, *, header: str | None = None) -> Any:
    headers = {"Stripe-Signature": signature(body) if header is None else header}
    return Client().generic("POST", "/api/payments/webhooks/stripe", body, "application/json", headers=headers)


def differences() -> list[Any]:
    """What the checks of ledger and payments find."""
    return [found for check in (*ledger_checks.CHECKS, *verification.CHECKS) for found in check()]


@pytest.fixture
def sale(stripe: FakeStripe, acme: make.Customer, pack: CreditPack) -> Sale:
    """Acme, with 100 credits, is about to buy 250."""
    made = checkouts.create(
        acme.team,
        pack,
        success_url="https://app.example.com/paid",
        cancel_url="https://app.example.com/credits",
        actor=make.TESTER,
    )
    return Sale(acme.team, checkouts.with_page(made))


@pytest.fixture
def operator(db: None, operator_headers: dict[str, str]) -> Caller:
    return Caller(operator_headers)


@pytest.fixture
def team_key(acme: make.Customer) -> Caller:
    return Caller(acme.headers)


@pytest.fixture
def stranger(globex: make.Customer) -> Caller:
    return Caller(globex.headers)
