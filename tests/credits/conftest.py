"""A team with an empty wallet, and a check after every test that the ledger adds up."""

from collections.abc import Iterator

import pytest

from apps.teams.models import Team
from tests import make
from tests.credits import books


@pytest.fixture
def team(db: None) -> Team:
    """A team whose wallet is empty."""
    return make.customer(credits=0).team


@pytest.fixture
def other_team(db: None) -> Team:
    """Somebody else's team, with 100 credits."""
    return make.customer(credits=100).team


@pytest.fixture
def _clean_books(db: None) -> Iterator[None]:
    """Whatever a test did, the books are in order afterwards."""
    yield
    assert books.ledger_differences() == []
