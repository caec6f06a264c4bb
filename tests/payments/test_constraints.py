"""The database itself refuses wrong payments: every constraint of these tables, tried by a raw write."""

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.payments.models import (
    Checkout,
    CreditPack,
    CurrencyRate,
    Dispute,
    Payment,
    TopUp,
    TopUpAttempt,
    WebhookEvent,
)
from tests.payments.conftest import Sale

pytestmark = pytest.mark.django_db


def twice(write: Callable[..., Any], **columns: Any) -> None:
    write(**columns)
    write(**columns)


def new_pack(**columns: Any) -> None:
    CreditPack.objects.create(**{"name": "x", "credits": 1, "amount_minor": 1, "currency": "USD", **columns})


def payment(**columns: Any) -> Payment:
    return Payment.objects.create(**{"provider": "stripe", "provider_payment_id": "pi_1", **columns})


def top_up(sale: Sale, **columns: Any) -> None:
    fields = {
        "team": sale.team,
        "pack": sale.checkout.pack,
        "threshold_micros": 1,
        "credits": 1,
        "amount_minor": 10,
        "currency": "USD",
        "monthly_ceiling_minor": 10,
        "consented_at": timezone.now(),
    }
    TopUp.objects.create(**{**fields, **columns})


def attempt(sale: Sale, **columns: Any) -> None:
    fields = {"team": sale.team, "organization": sale.team.organization, "credits": 1, "amount_minor": 1}
    TopUpAttempt.objects.create(**{**fields, "currency": "USD", **columns})


def checkout(sale: Sale, **columns: Any) -> None:
    Checkout.objects.filter(pk=sale.checkout.pk).update(**columns)


def same_session(sale: Sale) -> None:
    session_id = sale.checkout.provider_session_id
    fields = {"team": sale.team, "organization": sale.team.organization, "pack": sale.checkout.pack}
    Checkout.objects.create(
        **fields, credits=1, amount_minor=1, currency="USD", provider="stripe", provider_session_id=session_id
    )


def rate(**columns: Any) -> None:
    fields = {"currency": "EUR", "units_per_usd_ppb": 1, "valid_from": timezone.now(), "created_by": "tests"}
    CurrencyRate.objects.create(**{**fields, **columns})


WRONG: list[tuple[str, Callable[[Sale], Any]]] = [
    ("credit_pack_credits", lambda s: new_pack(credits=0)),
    ("credit_pack_credits", lambda s: new_pack(credits=10**12 + 1)),
    ("credit_pack_amount", lambda s: new_pack(amount_minor=0)),
    ("credit_pack_currency", lambda s: new_pack(currency="usd")),
    ("top_up_amounts", lambda s: top_up(s, threshold_micros=0)),
    ("top_up_amounts", lambda s: top_up(s, monthly_ceiling_minor=9)),
    ("top_up_one_open", lambda s: [attempt(s), attempt(s, state="requires_action")]),
    ("top_up_attempt_amounts", lambda s: attempt(s, amount_minor=0)),
    ("checkout_session_once", same_session),
    ("checkout_amounts", lambda s: checkout(s, credits=0)),
    ("payment_once", lambda s: twice(payment)),
    ("payment_paid", lambda s: payment(state="paid")),
    ("payment_paid", lambda s: payment(state="paid", team=s.team, organization=s.team.organization, amount_minor=1)),
    ("payment_refunded", lambda s: payment(refunded_minor=-1)),
    ("dispute_amounts", lambda s: Dispute.objects.create(payment=payment(), taken_back_micros=-1)),
    ("webhook_event_once", lambda s: twice(WebhookEvent.objects.create, provider="stripe", event_id="evt_1")),
    ("currency_rate_once", lambda s: twice(rate, valid_from=s.checkout.created_at)),
    ("currency_rate_positive", lambda s: rate(units_per_usd_ppb=0)),
    ("currency_rate_currency", lambda s: rate(currency="USD")),
    ("currency_rate_currency", lambda s: rate(currency="eur")),
]


@pytest.mark.parametrize(
    ("constraint", "write"), [pytest.param(*wrong, id=f"{n}-{wrong[0]}") for n, wrong in enumerate(WRONG)]
)
def test_wrong_row_is_refused(sale, constraint, write):
    with pytest.raises(IntegrityError) as refused, transaction.atomic():
        write(sale)

    # SQLite names the columns of a unique index, not the index.
    assert constraint in str(refused.value) or "UNIQUE constraint failed" in str(refused.value)


def test_every_constraint_is_tried():
    declared = {
        constraint.name
        for model in apps.get_app_config("payments").get_models()
        for constraint in model._meta.constraints
    }

    assert {name for name, _ in WRONG} == declared
