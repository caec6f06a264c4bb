"""Fixtures for all tests. The database is real and so are the services; only the provider is fake."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from apps.core import append_only
from apps.virtual_keys import services as virtual_keys
from tests import make


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
    virtual_keys.forget_cached()
    yield
    virtual_keys.forget_cached()


@pytest.fixture(autouse=True)
def _liftable_triggers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flush after a transactional test deletes ledger rows: the append-only triggers are lifted around it."""
    from django.core.management.commands import flush

    original = flush.Command.handle

    def handle(self: Any, *args: Any, **options: Any) -> Any:
        with append_only.lifted():
            result = original(self, *args, **options)
        return result

    monkeypatch.setattr(flush.Command, "handle", handle)


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
