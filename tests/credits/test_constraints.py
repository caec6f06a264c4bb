"""The database itself refuses wrong money: every constraint of the ledger's tables, tried by a raw write."""

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, models, transaction

from apps.core import clock
from apps.credits.models import (
    ISSUED_ID,
    REVENUE_ID,
    Account,
    Entry,
    Grant,
    GrantUse,
    Hold,
    RateCard,
    RateCardVersion,
)
from apps.credits.models_books import Block, Period, PeriodBalance
from apps.credits.models_offers import Allowance, Redemption, ScheduledGrant, Voucher
from tests.credits import books

_numbers = itertools.count(1)


@pytest.fixture
def wallet(team) -> Account:
    """A wallet with 10 credits, 4 of them held."""
    books.give(team, 10, key="start")
    books.hold(team, 4, job="job")
    return books.wallet(team)


def change(wallet: Account, **columns: Any) -> None:
    Account.objects.filter(pk=wallet.pk).update(**columns)


def entry(wallet: Account, **columns: Any) -> Entry:
    number = next(_numbers)
    fields: dict[str, Any] = {
        "kind": "grant",
        "debit_account_id": ISSUED_ID,
        "credit_account_id": wallet.pk,
        "amount_micros": 1,
        "credit_seq": 1000 + number,
        "credit_balance_micros": 1,
        "actor": "tests",
        "idempotency_key": f"raw:{number}",
    }
    return Entry.objects.create(**{**fields, **columns})


def charge_entry(wallet: Account, **columns: Any) -> Entry:
    fields: dict[str, Any] = {
        "kind": "charge",
        "debit_account_id": wallet.pk,
        "credit_account_id": REVENUE_ID,
        "credit_seq": None,
        "debit_seq": 1000 + next(_numbers),
        "job": "job",
    }
    return entry(wallet, **{**fields, **columns})


def grant(wallet: Account, **columns: Any) -> Grant:
    fields: dict[str, Any] = {
        "account": wallet,
        "entry": Entry.objects.filter(credit_account=wallet).first(),
        "priority": 50,
        "amount_micros": 10,
        "remaining_micros": 10,
    }
    return Grant.objects.create(**{**fields, **columns})


def hold(wallet: Account, **columns: Any) -> Hold:
    return Hold.objects.create(**{"account": wallet, "job": "another", "amount_micros": 1, **columns})


def use(_wallet: Account, **columns: Any) -> GrantUse:
    return GrantUse.objects.create(entry=Entry.objects.get(), grant=Grant.objects.get(), **columns)


def twice(write: Callable[..., Any], *args: Any, **columns: Any) -> None:
    write(*args, **columns)
    write(*args, **columns)


def card(**columns: Any) -> RateCard:
    return RateCard.objects.create(**columns)


def block(wallet: Account, **columns: Any) -> None:
    Block.objects.create(**{"account": wallet, "number": 1, "version": 1, "first_seq": 1, "last_seq": 1, **columns})


def period_balance(wallet: Account) -> None:
    period, _ = Period.objects.get_or_create(name="2026-01", defaults={"ends_at": clock.now()})
    PeriodBalance.objects.create(period=period, account=wallet, last_seq=1, posted_micros=1)


def scheduled(wallet: Account, **columns: Any) -> None:
    fields = {"team": wallet.team, "amount_micros": 1, "effective_at": clock.now(), "actor": "tests"}
    ScheduledGrant.objects.create(**{**fields, **columns})


def voucher(**columns: Any) -> Voucher:
    fields: dict[str, Any] = {"code_hash": f"hash-{next(_numbers)}", "amount_micros": 1, "created_by": "tests"}
    return Voucher.objects.create(**{**fields, **columns})


def redeemed_twice(wallet: Account) -> None:
    of = voucher(max_uses=2)
    Redemption.objects.create(voucher=of, team=wallet.team, entry=entry(wallet))
    Redemption.objects.create(voucher=of, team=wallet.team, entry=entry(wallet))


def two_drafts(owned: RateCard) -> None:
    for number in (1, 2):
        RateCardVersion.objects.create(card=owned, number=number, mode="flat", state="draft")


def system(wallet: Account, **columns: Any) -> None:
    Account.objects.filter(pk=ISSUED_ID).update(**columns)


def delete_all(table: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {table}")
    # Foreign keys are judged at the end of a transaction; a test's has none.
    connection.check_constraints()


# Constraint, and raw writes that it refuses. Each gets the wallet of the fixture.
WRONG: list[tuple[str, Callable[[Account], Any]]] = [
    ("account_wallet_once", lambda w: Account.objects.create(kind="wallet", team=w.team)),
    ("account_pool_once", lambda w: twice(Account.objects.create, kind="pool", organization=w.organization)),
    ("account_system_once", lambda w: Account.objects.create(kind="system", system_name="issued")),
    ("account_owner", lambda w: change(w, team=None)),
    ("account_owner", lambda w: Account.objects.create(kind="pool")),
    ("account_owner", lambda w: Account.objects.create(kind="purse", team=w.team)),
    ("account_owner", lambda w: system(w, posted_micros=1, allocated_micros=1)),
    ("account_owner", lambda w: system(w, held_micros=1, credit_line_micros=5)),
    ("account_owner", lambda w: system(w, seq=1)),
    ("account_held", lambda w: change(w, held_micros=-1)),
    ("account_debt", lambda w: change(w, debt_micros=-1)),
    ("account_credit_line", lambda w: change(w, credit_line_micros=-1)),
    ("account_never_overdrawn", lambda w: change(w, posted_micros=3_999_999, allocated_micros=3_999_999)),
    ("account_never_overdrawn", lambda w: change(w, held_micros=10_000_001)),
    ("account_posted_explained", lambda w: change(w, posted_micros=11_000_000)),
    ("account_posted_explained", lambda w: change(w, used_micros=1)),
    ("account_restriction", lambda w: change(w, restriction="report", credit_line_micros=1)),
    ("account_restriction", lambda w: change(w, restriction="report", has_restricted=True)),
    ("entry_amount", lambda w: entry(w, amount_micros=0)),
    ("entry_amount", lambda w: entry(w, amount_micros=-1)),
    ("entry_two_accounts", lambda w: entry(w, debit_account_id=w.pk)),
    ("entry_job_charged_once", lambda w: twice(charge_entry, w)),
    ("entry_debit_seq", lambda w: twice(charge_entry, w, debit_seq=7, kind="adjust")),
    ("entry_credit_seq", lambda w: entry(w, credit_seq=1)),
    ("idempotency_key", lambda w: twice(entry, w, idempotency_key="grant:team:key")),
    ("external_id", lambda w: twice(entry, w, external_id="payment-1")),
    ("hold_once_per_job", lambda w: hold(w, job="job")),
    ("hold_amount", lambda w: hold(w, amount_micros=-1)),
    ("hold_state", lambda w: hold(w, closed_at=clock.now())),
    ("hold_state", lambda w: hold(w, state="lost")),
    ("grant_amount", lambda w: grant(w, amount_micros=0, remaining_micros=0)),
    ("grant_remaining", lambda w: grant(w, remaining_micros=-1)),
    ("grant_remaining", lambda w: grant(w, remaining_micros=11)),
    ("grant_use_amount", lambda w: use(w, amount_micros=0)),
    ("grant_use_once", lambda w: twice(use, w, amount_micros=1)),
    ("block_number_once", lambda w: [block(w), block(w, first_seq=2, last_seq=2)]),
    ("block_first_seq_once", lambda w: [block(w), block(w, number=2)]),
    ("block_range", lambda w: block(w, first_seq=0)),
    ("block_range", lambda w: block(w, first_seq=2)),
    ("period_balance_once", lambda w: twice(period_balance, w)),
    ("allowance_whole", lambda w: Allowance.objects.create(team=w.team, is_enabled=True)),
    ("scheduled_amount", lambda w: scheduled(w, amount_micros=0)),
    ("scheduled_expiry", lambda w: scheduled(w, expires_at=clock.now() - timedelta(days=1))),
    (
        "scheduled_posted_or_cancelled",
        lambda w: scheduled(w, cancelled_at=clock.now(), entry=Entry.objects.first()),
    ),
    ("voucher_amount", lambda w: voucher(amount_micros=0)),
    ("voucher_uses", lambda w: voucher(uses=2)),
    ("redemption_once_a_team", lambda w: redeemed_twice(w)),
    ("rate_card_team_once", lambda w: twice(card, team=w.team)),
    ("rate_card_organization_once", lambda w: twice(card, organization=w.organization, job_type="a")),
    ("rate_card_platform_once", lambda w: twice(card, job_type="a")),
    ("rate_card_one_owner", lambda w: card(team=w.team, organization=w.organization)),
    ("rate_card_version_once", lambda w: twice(RateCardVersion.objects.create, card=card(), number=1, mode="flat")),
    ("rate_card_one_draft", lambda w: two_drafts(card())),
]


@pytest.mark.parametrize(
    ("constraint", "write"), [pytest.param(*wrong, id=f"{n}-{wrong[0]}") for n, wrong in enumerate(WRONG)]
)
def test_wrong_row_is_refused(wallet, constraint, write):
    with pytest.raises(IntegrityError) as refused, transaction.atomic():
        write(wallet)

    # SQLite names the columns of a unique index, not the index.
    assert constraint in str(refused.value) or "UNIQUE constraint failed" in str(refused.value)


def test_every_constraint_of_the_ledger_is_tried():
    declared = {
        constraint.name
        for model in apps.get_app_config("credits").get_models()
        for constraint in model._meta.constraints
    }
    unique_columns = {
        field.name
        for field in Entry._meta.get_fields()
        if isinstance(field, models.Field) and field.unique and not field.primary_key
    }

    assert {name for name, _ in WRONG} == declared | unique_columns


@pytest.mark.parametrize("row", ["account", "grant"])
def test_row_that_an_entry_points_at_cannot_be_deleted(wallet, row):
    books.spend(wallet.team, 1, job="spent")

    with pytest.raises(IntegrityError), transaction.atomic():
        delete_all(f"credits_{row}")


def test_team_with_a_wallet_cannot_be_deleted(wallet):
    with pytest.raises(models.ProtectedError):
        wallet.team.delete()


def test_system_accounts_exist_and_carry_nothing(db):
    accounts = Account.objects.filter(kind="system").values_list("pk", "system_name", "posted_micros", "seq")

    assert sorted(accounts) == [(-3, "expired", 0, 0), (-2, "revenue", 0, 0), (-1, "issued", 0, 0)]
