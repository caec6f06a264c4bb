"""Callers of the API."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from tests import make
from tests.api.calling import Caller


@pytest.fixture
def operator(db: None, operator_headers: dict[str, str]) -> Caller:
    return Caller(operator_headers)


@pytest.fixture
def nobody(db: None) -> Caller:
    return Caller()


@pytest.fixture
def team_key(acme: make.Customer) -> Caller:
    """Acme's own virtual key."""
    return Caller(acme.headers)


@pytest.fixture
def stranger(globex: make.Customer) -> Caller:
    """The virtual key of another organization's team."""
    return Caller(globex.headers)


@pytest.fixture
def in_thread() -> Any:
    """Runs a function in another thread, on a connection of its own, and returns what it returns."""

    def run(function: Any) -> Any:
        def closing() -> Any:
            try:
                return function()
            finally:
                connection.close()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(closing).result(timeout=20)

    return run
