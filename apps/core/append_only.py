"""Append-only tables: triggers that refuse UPDATE and DELETE (and TRUNCATE on PostgreSQL).

Installed by an idempotent post_migrate step rather than a migration, because Django rebuilds SQLite tables in
later migrations and silently drops their triggers. A system check and `ledger_verify` assert that they exist.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

_REGISTERED: list[str] = []
_is_to_be_installed = False
_WHEN: dict[str, str] = {}
_FUNCTION = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'rows of % are never changed or deleted', TG_TABLE_NAME; END $$
"""


def register(table: str, *, when: str = "") -> None:
    """Make `table` append-only from the next migrate on; with `when`, its rows that fulfil this condition of SQL on
    OLD."""
    if table not in _REGISTERED:
        _REGISTERED.append(table)
    if when:
        _WHEN[table] = when


def _trigger_names(table: str) -> list[str]:
    events = ["update", "delete", "truncate"] if connection.vendor == "postgresql" else ["update", "delete"]
    return [f"{table}_refuse_{event}" for event in events]


def install() -> None:
    """Create the triggers that are missing, for the registered tables that exist."""
    existing = set(connection.introspection.table_names())
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql" and existing & set(_REGISTERED):
            cursor.execute(_FUNCTION)
        for table in _REGISTERED:
            if table not in existing:
                continue
            present = _present()
            for name in _trigger_names(table):
                if name in present:
                    continue
                event = name.rsplit("_", 1)[1].upper()
                when = f" WHEN ({_WHEN[table]})" if table in _WHEN and event != "TRUNCATE" else ""
                if connection.vendor == "postgresql":
                    level = "STATEMENT" if event == "TRUNCATE" else "ROW"
                    cursor.execute(
                        f'CREATE TRIGGER "{name}" BEFORE {event} ON "{table}"'
                        f" FOR EACH {level}{when} EXECUTE FUNCTION refuse_change()"
                    )
                else:
                    cursor.execute(
                        f'CREATE TRIGGER "{name}" BEFORE {event} ON "{table}"{when} BEGIN'
                        f" SELECT RAISE(ABORT, 'rows of {table} are never changed or deleted'); END"
                    )


def _present() -> set[str]:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
                " JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND n.nspname = current_schema()"
            )
        else:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        return {row[0] for row in cursor.fetchall()}


def missing() -> list[str]:
    """Names of triggers that should exist and do not."""
    present = _present()
    return [name for table in _REGISTERED for name in _trigger_names(table) if name not in present]


def missing_of_existing_tables() -> list[str]:
    """Like `missing`, before the first migrate: a table that does not exist yet misses nothing."""
    if _is_to_be_installed:
        return []
    existing = set(connection.introspection.table_names())
    return [name for name in missing() if name.rsplit("_refuse_", 1)[0] in existing]


@contextmanager
def to_be_installed() -> Iterator[None]:
    """While a migrate judges what it starts from: what is missing is installed at its end."""
    global _is_to_be_installed
    _is_to_be_installed = True
    try:
        yield
    finally:
        _is_to_be_installed = False


@contextmanager
def lifted() -> Iterator[None]:
    """Without the triggers, for the flush between tests alone."""
    with connection.cursor() as cursor:
        for table in _REGISTERED:
            for name in _trigger_names(table):
                suffix = f' ON "{table}"' if connection.vendor == "postgresql" else ""
                cursor.execute(f'DROP TRIGGER IF EXISTS "{name}"{suffix}')
    try:
        yield
    finally:
        install()
