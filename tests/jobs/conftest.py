"""What all tests of jobs need. After each test that wrote something, everything stored must still add up."""

from collections.abc import Iterator
from typing import Any

import pytest

from apps.core import verification
from apps.jobs import dispatch
from tests.harness.fake_provider import Behaviour, RunningProvider, running_provider


@pytest.fixture(autouse=True)
def _demo_may_answer(settings: Any) -> None:
    settings.EMBEDDED = True


@pytest.fixture(autouse=True)
def _fresh_dispatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_skip_until", 0.0)
    monkeypatch.setattr(dispatch, "_is_embedded_running", False)


@pytest.fixture(autouse=True)
def _everything_adds_up(request: pytest.FixtureRequest) -> Iterator[None]:
    database = next((name for name in ("transactional_db", "db") if name in request.fixturenames), None)
    if database is not None:
        # Asked for here, so that it is still there when this fixture ends.
        request.getfixturevalue(database)
    yield
    if database is not None:
        assert [str(difference) for difference in verification.differences()] == []


@pytest.fixture
def provider(settings: Any) -> Iterator[RunningProvider]:
    """A provider at LITELLM_BASE_URL that fails as the model's name says."""
    settings.LITELLM_MASTER_KEY = "sk-litellm-master-of-these-tests"
    with running_provider(behaviour=Behaviour(timeout_s=30)) as running:
        settings.LITELLM_BASE_URL = running.url
        yield running
