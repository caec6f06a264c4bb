"""Rows of the ledger and the audit trail are never changed or deleted; that they could be is noticed."""

from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import DatabaseError, connection, transaction

from apps.catalog import prices
from apps.catalog.price_models import Price
from apps.catalog.rates import Rates
from apps.core import append_only, audit
from apps.core.models import AuditEntry
from apps.credits import sealing
from apps.credits.models import Entry, GrantUse
from apps.credits.models_books import Block, Period, PeriodBalance
from tests import make

TABLES = {
    "catalog_price",
    "core_auditentry",
    "credits_block",
    "credits_entry",
    "credits_grantuse",
    "credits_period",
    "credits_periodbalance",
}


@pytest.fixture
def rows(db: None, settings: Any) -> dict[str, Any]:
    """A row in each append-only table."""
    from tests.jobs import steps

    settings.EMBEDDED = True
    make.platform_model()
    customer = make.customer(credits=10)
    steps.run(steps.create_and_call(customer))
    assert GrantUse.objects.exists()
    prices.add("provider/chat", Rates(1, 2), actor=make.TESTER)
    sealing.seal_all()
    entry = Entry.objects.filter(kind=Entry.Kind.CHARGE).get()
    period = Period.objects.create(name="2026-01", ends_at=entry.created_at)
    PeriodBalance.objects.create(period=period, account=entry.debit_account, last_seq=1, posted_micros=1)
    # PostgreSQL refuses DDL on tables whose deferred constraints are still to be judged.
    connection.check_constraints()
    return {
        "catalog_price": Price,
        "core_auditentry": AuditEntry,
        "credits_block": Block,
        "credits_entry": Entry,
        "credits_grantuse": GrantUse,
        "credits_period": Period,
        "credits_periodbalance": PeriodBalance,
    }


def execute(*statements: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def test_these_tables_are_append_only():
    # Of versions of rate cards those that were activated: tests/credits/test_cards.py.
    assert set(append_only._REGISTERED) == TABLES | {"credits_ratecardversion"}


@pytest.mark.parametrize("table", sorted(TABLES))
@pytest.mark.parametrize("statement", ["UPDATE {table} SET {key} = {key}", "DELETE FROM {table}"])
def test_change_and_deletion_are_refused(rows: dict[str, Any], table: str, statement: str):
    before = list(rows[table]._base_manager.order_by("pk").values())

    with pytest.raises(DatabaseError, match=f"rows of {table} are never changed or deleted"):
        execute(statement.format(table=table, key=rows[table]._meta.pk.column))

    assert list(rows[table]._base_manager.order_by("pk").values()) == before


@pytest.mark.parametrize("table", sorted(TABLES))
def test_change_through_the_orm_is_refused(rows: dict[str, Any], table: str):
    row = rows[table]._base_manager.first()

    for change in (row.save, row.delete, lambda: rows[table]._base_manager.update(**{row._meta.pk.name: row.pk})):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()


@pytest.mark.postgresql
@pytest.mark.parametrize("table", sorted(TABLES))
def test_truncation_is_refused(rows: dict[str, Any], table: str):
    with pytest.raises(DatabaseError, match="never changed or deleted"):
        execute("SET CONSTRAINTS ALL IMMEDIATE", f"TRUNCATE {table} CASCADE")


def test_installing_again_changes_nothing(db: None):
    assert append_only.missing() == []

    append_only.install()

    assert append_only.missing() == []


def dropped(table: str, event: str) -> str:
    suffix = f' ON "{table}"' if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f'DROP TRIGGER "{table}_refuse_{event}"{suffix}')
    return f"{table}_refuse_{event}"


@pytest.mark.parametrize("table", sorted(TABLES))
@pytest.mark.parametrize("event", ["update", "delete"])
def test_missing_trigger_is_noticed_and_installed_again(db: None, table: str, event: str):
    name = dropped(table, event)

    assert append_only.missing() == append_only.missing_of_existing_tables() == [name]
    (error,) = [each for each in run_checks(databases=["default"]) if each.id == "core.E001"]
    assert name in error.msg
    append_only.install()

    assert append_only.missing() == []


@pytest.mark.postgresql
def test_disabled_trigger_is_noticed(db: None):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE credits_entry DISABLE TRIGGER credits_entry_refuse_delete")

    assert append_only.missing() == ["credits_entry_refuse_delete"]


def test_database_without_tables_misses_nothing(db: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(append_only, "_REGISTERED", ["not_there_yet"])

    assert append_only.missing_of_existing_tables() == []
    assert append_only.missing() != []


def test_triggers_are_back_after_they_were_lifted(rows: dict[str, Any]):
    def fail_meanwhile() -> None:
        with append_only.lifted():
            assert len(append_only.missing()) >= 6
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_meanwhile()

    assert append_only.missing() == []


def test_audit_row_is_written_with_its_cause_or_not_at_all(db: None):
    def fail_afterwards() -> None:
        with transaction.atomic():
            audit.record("team.create", actor=make.TESTER, kind="team", id="acme")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_afterwards()

    assert AuditEntry.objects.count() == 0


def test_audit_row_is_cut_to_its_columns(db: None):
    from apps.core.actors import Actor

    audit.record("x", actor=Actor("operator", "n" * 300, "a" * 100), kind="team", id="i" * 300, reason="r" * 600)

    entry = AuditEntry.objects.get()
    assert [len(text) for text in (entry.actor, entry.address, entry.object_id, entry.reason)] == [255, 64, 255, 500]
