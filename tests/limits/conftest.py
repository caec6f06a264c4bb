"""What tests of limits need. After each that wrote something, everything stored must still add up."""

from collections.abc import Iterator
from typing import Any

import pytest

from apps.core import verification
from apps.limits import counters, index
from tests import make


@pytest.fixture(autouse=True)
def _demo_may_answer(settings: Any) -> None:
    settings.EMBEDDED = True


@pytest.fixture(autouse=True)
def _everything_adds_up(request: pytest.FixtureRequest) -> Iterator[None]:
    database = next((name for name in ("transactional_db", "db") if name in request.fixturenames), None)
    if database is not None:
        request.getfixturevalue(database)
    yield
    if database is not None:
        assert [str(difference) for difference in verification.differences()] == []


@pytest.fixture
def clock_of_counters(monkeypatch: pytest.MonkeyPatch) -> "Clock":
    """The second that counters in memory believe it is."""
    clock = Clock()
    monkeypatch.setattr(counters.time, "time", lambda: clock.now)
    return clock


class Clock:
    now = 1_800_000_000.0


@pytest.fixture
def customer(db: None) -> make.Customer:
    make.platform_model()
    index.forget_cached()
    return make.customer(team_id="acme", credits=100)
