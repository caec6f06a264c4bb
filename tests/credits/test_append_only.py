"""Entries, uses of grants and the audit trail are never changed or deleted, by whatever statement."""

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from apps.core import append_only
from apps.core.checks import append_only_triggers_exist
from apps.credits import sealing
from apps.credits.models import Entry, GrantUse, Period, PeriodBalance
from tests.credits import books

TABLES = {
    "credits_entry": "reason",
    "credits_grantuse": "amount_micros",
    "credits_block": "hash",
    "credits_period": "closed_by",
    "credits_periodbalance": "posted_micros",
    "core_auditentry": "reason",
}


@pytest.fixture
def entry(team) -> Entry:
    """A charge of 1 credit, paid by the lot of a grant."""
    books.give(team, 10, key="start")
    entry = books.spend(team, 1)
    sealing.seal_all()
    period = Period.objects.create(name="2026-01", ends_at=entry.created_at)
    PeriodBalance.objects.create(period=period, account=entry.debit_account, last_seq=1, posted_micros=1)
    # PostgreSQL refuses DDL on tables whose deferred constraints are still to be judged.
    connection.check_constraints()
    return entry


def execute(sql: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.mark.parametrize(("table", "column"), TABLES.items())
def test_row_cannot_be_updated(entry, table, column):
    with pytest.raises(DatabaseError, match="never changed or deleted"):
        execute(f"UPDATE {table} SET {column} = {column}")


@pytest.mark.parametrize("table", TABLES)
def test_row_cannot_be_deleted(entry, table):
    with pytest.raises(DatabaseError, match="never changed or deleted"):
        execute(f"DELETE FROM {table}")


@pytest.mark.postgresql
@pytest.mark.parametrize("table", [*TABLES, "credits_account", "credits_grant"])
def test_table_cannot_be_truncated(entry, table):
    with pytest.raises(DatabaseError, match="never changed or deleted"):
        execute(f"TRUNCATE {table} CASCADE")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="a statement of SQLite")
def test_row_cannot_be_replaced(entry):
    with pytest.raises(DatabaseError, match="never changed or deleted"):
        execute("REPLACE INTO credits_grantuse SELECT * FROM credits_grantuse")


def test_model_cannot_be_saved_again(entry):
    entry.amount_micros += 1

    with pytest.raises(DatabaseError, match="never changed or deleted"), transaction.atomic():
        entry.save()


def test_queryset_cannot_change_or_delete(entry):
    for act in (lambda: GrantUse.objects.update(amount_micros=2), lambda: GrantUse.objects.all().delete()):
        with pytest.raises(DatabaseError, match="never changed or deleted"), transaction.atomic():
            act()


def test_upsert_cannot_change(entry):
    use = GrantUse.objects.get()
    use.amount_micros += 1

    with pytest.raises(DatabaseError, match="never changed or deleted"), transaction.atomic():
        GrantUse.objects.bulk_create(
            [use], update_conflicts=True, unique_fields=["id"], update_fields=["amount_micros"]
        )


def test_every_trigger_is_there_and_a_missing_one_is_told(entry):
    assert append_only.missing() == []
    assert append_only_triggers_exist(None, databases=["default"]) == []

    of_table = " ON credits_entry" if connection.vendor == "postgresql" else ""
    execute(f"DROP TRIGGER credits_entry_refuse_update{of_table}")

    assert append_only.missing() == ["credits_entry_refuse_update"]
    assert [error.id for error in append_only_triggers_exist(None, databases=["default"])] == ["core.E001"]
    assert "trigger of credits_entry_refuse_update: expected installed, found missing" in map(
        str, books.ledger_differences()
    )
    append_only.install()
    assert append_only.missing() == []


@pytest.mark.postgresql
def test_disabled_trigger_counts_as_missing(entry):
    execute("ALTER TABLE credits_entry DISABLE TRIGGER credits_entry_refuse_delete")

    assert append_only.missing() == ["credits_entry_refuse_delete"]


def test_migrate_is_not_stopped_by_the_triggers_that_it_installs(entry):
    """A table that becomes append-only in a new release has none before its first migrate."""
    with connection.cursor() as cursor:
        on = ' ON "credits_entry"' if connection.vendor == "postgresql" else ""
        cursor.execute(f'DROP TRIGGER "credits_entry_refuse_update"{on}')

    call_command("migrate", verbosity=0, skip_checks=False)

    assert append_only.missing() == []
