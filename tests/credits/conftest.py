"""A team with an empty wallet, and a check after every test that the ledger adds up."""

from collections.abc import Iterator

import pytest

from apps.credits import ledger
from apps.organizations import services as organizations
from apps.teams import services as teams
from apps.teams.models import Team
from tests import make
from tests.credits import books


@pytest.fixture
def team(db: None) -> Team:
    """A team whose wallet is empty."""
    return team_with_wallet("mine")


@pytest.fixture
def other_team(db: None) -> Team:
    """Somebody else's team, with 100 credits."""
    team = team_with_wallet("other")
    books.give(team, 100, key="initial")
    return team


def team_with_wallet(name: str) -> Team:
    """The least that the ledger needs: no key, no model, no prices."""
    org = organizations.create(organization_id=f"org-{name}", name=name, metadata=None, actor=make.TESTER)
    team = teams.create(org, team_id=name, actor=make.TESTER)
    ledger.open_wallet(team)
    return team


@pytest.fixture
def _clean_books(db: None) -> Iterator[None]:
    """Whatever a test did, the books are in order afterwards."""
    yield
    assert books.ledger_differences() == []
