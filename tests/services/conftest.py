"""One running platform for all tests of this folder. A test may kill what it likes; the next finds it repaired."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness.executions import Execution
from tests.harness.fake_provider import RunningProvider, running_provider
from tests.harness.processes import Process
from tests.services.customer import Customer
from tests.services.stack import Stack, Team, prepared, wait_until

TEAMS = [
    Team("acme", credits=10_000),
    Team("globex", credits=10_000),
    Team("ten", credits=10),
    Team("metered", credits=1_000_000, is_metered=True),
    Team("leaving", credits=1_000_000, is_metered=True, cancels_left_streams=True),
]
MODELS = ("fake-hold", "fake-429", "fake-500", "fake-400", "fake-slow-300")
STREAMED_MODELS = ("fake-hold-1", "fake-hold-3", "fake-hold-8", "fake-drip-5", "fake-drip-60", "fake-drip-100-hold-3")


class Platform:
    """Web, worker and beat, and the provider that they reach."""

    def __init__(self, stack: Stack, provider: RunningProvider) -> None:
        self.stack = stack
        self.provider = provider
        # They take a second each; together not three.
        with ThreadPoolExecutor() as pool:
            web, worker, beat = [
                pool.submit(start) for start in (stack.start_web, stack.start_worker, stack.start_beat)
            ]
        self.web, self.worker, self.beat = web.result(), worker.result(), beat.result()
        self._executions_before = 0

    def repair(self) -> None:
        """Bring everything back that the test before took away."""
        self.stack.redis_mode("pass")
        if not self.web.is_running():
            self.web = self.stack.start_web()
        if not self.worker.is_running():
            self.worker = self.stack.start_worker()
        if not self.beat.is_running():
            self.beat = self.stack.start_beat()
        self._executions_before = len(self.provider.executions())

    def customer(self, team_id: str = "acme", *, web: Process | None = None) -> Customer:
        return Customer((web or self.web).url, team_id=team_id, key=self.stack.keys[team_id])

    def executions(self) -> list[Execution]:
        """What the provider was asked in this test."""
        return self.provider.executions()[self._executions_before :]

    def until_executed(self, times: int) -> None:
        """Wait until the provider was asked that often in this test."""
        wait_until(lambda: len(self.executions()) >= times, what=f"{times} executions")

    def until_settled(self, job_id: object) -> None:
        """Wait until no call of the job is open."""
        wait_until(
            lambda: self.stack.value("SELECT open_calls FROM jobs_job WHERE id = %s", job_id) == 0,
            what="the job's calls to end",
        )

    def attempts(self, job_id: object) -> list[tuple[int, str]]:
        """Claim and state of every try at the job's calls."""
        return self.stack.rows(
            "SELECT a.claim, a.state FROM jobs_attempt a JOIN jobs_call c ON c.id = a.call_id"
            " WHERE c.job_id = %s ORDER BY a.claim",
            job_id,
        )

    def charges(self, job_id: object) -> list[int]:
        """What the job was charged, entry by entry, in micros of a credit."""
        charged = "SELECT amount_micros FROM credits_entry WHERE kind = 'charge' AND job = %s"
        return [amount for (amount,) in self.stack.rows(charged, str(job_id))]


@pytest.fixture(scope="session")
def _platform() -> Iterator[Platform]:
    with (
        running_provider() as provider,
        prepared("saas_services", provider_url=provider.url, teams=TEAMS, models=MODELS + STREAMED_MODELS) as stack,
    ):
        yield Platform(stack, provider)


@pytest.fixture
def platform(_platform: Platform) -> Iterator[Platform]:
    _platform.repair()
    yield _platform
    _platform.provider.release()


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    """Threads for requests that are answered later."""
    with ThreadPoolExecutor(max_workers=64) as pool:
        yield pool
