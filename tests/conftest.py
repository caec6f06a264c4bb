"""Fixtures for all tests. The database is real and so are the services; only the provider is fake."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.management.sql import emit_post_migrate_signal
from django.db import connection, transaction
from django.test import Client

from apps.catalog import services as catalog
from apps.core import append_only, settings_store
from apps.credits import pricing
from apps.jobs import dispatch, execution, leases, replies
from apps.jobs.streaming import marks
from apps.limits import counters
from apps.limits import index as limits
from apps.payments import currencies
from apps.virtual_keys import services as virtual_keys
from tests import make
from tests.openapi import conformance


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On SQLite, tests that need PostgreSQL are not part of the run; `make test` runs them on PostgreSQL."""
    engine = settings.DATABASES["default"]["ENGINE"]
    if engine.endswith("postgresql"):
        return
    needing = [item for item in items if item.get_closest_marker("postgresql") or item.get_closest_marker("services")]
    if needing:
        items[:] = [item for item in items if item not in needing]
        config.hook.pytest_deselected(items=needing)


@pytest.fixture(autouse=True)
def _fresh_process_state() -> Iterator[None]:
    """Nothing cached in the process outlives a test."""
    caches = (virtual_keys, catalog, pricing, limits, currencies, settings_store)
    for each in caches:
        each.forget_cached()
    counters.forget()
    yield
    for each in caches:
        each.forget_cached()


@pytest.fixture(autouse=True, scope="session")
def _answers_are_as_described() -> Iterator[None]:
    """Every answer that a test gets is held against the OpenAPI document."""
    original = Client.request

    def request(self: Client, **environ: Any) -> Any:
        response = original(self, **environ)
        wrong = conformance.problems(environ["REQUEST_METHOD"], environ["PATH_INFO"], response)
        assert not wrong, wrong
        return response

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Client, "request", request)
        yield


@pytest.fixture(autouse=True, scope="session")
def _flush() -> Iterator[None]:
    """The flush after a transactional test deletes ledger rows, past the append-only triggers.

    For the whole session, since the flush comes after a test's own fixtures are gone.
    """
    from django.core.management.commands import flush

    original = flush.Command.handle

    def handle(self: Any, *args: Any, **options: Any) -> Any:
        if _may_skip_triggers():
            return _delete_all_rows(options["database"])
        with append_only.lifted():
            return original(self, *args, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(flush.Command, "handle", handle)
        yield


def _may_skip_triggers() -> bool:
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        return bool(cursor.fetchone()[0])


def _delete_all_rows(database: str) -> None:
    """What Django's flush does, without TRUNCATE: that makes a new file of every table and takes seconds on a
    busy disk, for a handful of rows. As a replica the session skips triggers and foreign keys."""
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for table in tables:
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")
    emit_post_migrate_signal(verbosity=0, interactive=False, db=database)


@pytest.fixture
def acme(db: None) -> make.Customer:
    """A customer with 100 credits; the demo provider's model is open to all."""
    make.platform_model()
    return make.customer(team_id="acme", credits=100)


@pytest.fixture
def globex(db: None) -> make.Customer:
    """Somebody else's customer, who should see nothing of acme's."""
    return make.customer(team_id="globex", credits=100)


@pytest.fixture
def operator_headers(settings: Any) -> dict[str, str]:
    settings.MASTER_KEY = "sk-test-master-key-of-these-tests"
    return {"X-Admin-Key": settings.MASTER_KEY}


def pytest_configure(config: pytest.Config) -> None:
    # Each worker of a parallel run has a database of its own; so has a run beside another.
    os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "")
    del config


@pytest.fixture
def is_postgresql() -> bool:
    return connection.vendor == "postgresql"


@pytest.fixture
def no_worker(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are admitted and published to nobody.

    The threads of mailbox and leases stay away: their connections would not see this test's transaction, and
    SQLite would make them wait for it.
    """
    settings.EMBEDDED = True
    monkeypatch.setattr(dispatch, "publish", lambda call_ids: 0)
    monkeypatch.setattr(replies.Mailbox, "_start", lambda self: None)
    monkeypatch.setattr(leases, "_ensure_renewer", lambda: None)
    monkeypatch.setattr(marks, "_ensure_saver", lambda: None)


@pytest.fixture
def worker(no_worker: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A published call is made at once, in this thread, by the function that every worker runs.

    What HTTP makes of a call is tested here, so the way to a worker and back is left out. Real worker processes,
    brokers and lost messages have tests of their own.
    """

    def publish(call_ids: list[Any]) -> int:
        for call_id in call_ids:
            execution.run_call(str(call_id))
            replies.mailbox().notify(str(call_id))
        return len(call_ids)

    monkeypatch.setattr(dispatch, "publish", publish)
