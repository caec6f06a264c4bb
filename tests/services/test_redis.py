"""Redis is gone, hung or emptied: it only hints, so meanwhile the API answers and afterwards nothing is lost."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
import requests

from tests.services.conftest import Platform
from tests.services.stack import wait_until

pytestmark = pytest.mark.services

# Redis has a second to answer; two of its clients may be asked in turn.
FAST_S = 4.0


@pytest.mark.parametrize("mode", ["refuse", "hang"])
def test_api_answers_without_redis_and_calls_go_on_afterwards(
    platform: Platform, background: ThreadPoolExecutor, mode: str
) -> None:
    customer = platform.customer()
    answered = customer.open_job()
    customer.call(answered, "Before")
    job_ids = [customer.open_job() for _ in range(12)]

    platform.stack.redis_mode(mode)
    answers = [background.submit(customer.call, job_id, f"In {job_id}", wait_s=30) for job_id in job_ids]
    wait_until(lambda: _open_calls(platform, job_ids) == len(job_ids), what="the calls to be admitted")
    asked_at = time.monotonic()
    health = requests.get(f"{platform.web.url}/health", timeout=FAST_S)
    completed = customer.complete(answered)
    created = customer.open_job()
    took_s = time.monotonic() - asked_at
    platform.stack.redis_mode("pass")

    assert (health.status_code, completed.status_code) == (200, 200)
    assert completed.json()["costs"]["credit_applied"] is True
    assert created
    assert took_s < FAST_S
    assert {answer.result().status_code for answer in answers} == {200}
    assert len(platform.executions()) == 1 + len(job_ids)


def test_calls_whose_messages_were_lost_are_made_all_the_same(
    platform: Platform, background: ThreadPoolExecutor
) -> None:
    customer = platform.customer()
    job_ids = [customer.open_job() for _ in range(5)]
    # Nobody takes the messages before they are gone.
    platform.stack.kill(platform.worker)
    answers = [background.submit(customer.call, job_id, "Lost?", wait_s=30) for job_id in job_ids]
    wait_until(lambda: _open_calls(platform, job_ids) == len(job_ids), what="the calls to be admitted")

    platform.stack.redis().flushdb()
    platform.worker = platform.stack.start_worker()

    assert {answer.result().status_code for answer in answers} == {200}
    assert len(platform.executions()) == len(job_ids)


def test_sweeps_go_on_while_redis_is_gone(platform: Platform) -> None:
    platform.stack.redis_mode("refuse")
    swept_at = _swept_at(platform)

    wait_until(lambda: _swept_at(platform) > swept_at, timeout_s=8, what="a sweep")


def test_sweeps_go_on_while_every_worker_thread_is_busy(platform: Platform, background: ThreadPoolExecutor) -> None:
    customer = platform.customer()
    platform.stack.kill(platform.worker)
    platform.worker = platform.stack.start_worker(concurrency=2)
    busy = [background.submit(customer.create_and_call, f"Busy {n}?", model="fake-hold") for n in range(2)]
    platform.until_executed(2)
    call = customer.create_and_call("Nobody has time?", wait_s=1).json()

    wait_until(
        lambda: customer.call_of(call["job_id"], call["call_id"])["status"] == "expired",
        timeout_s=10,
        what="the call to expire that no worker took in its time",
    )
    platform.provider.release()
    assert {answer.result().status_code for answer in busy} == {200}
    # The small worker is not for the tests that follow.
    platform.stack.kill(platform.worker)


def _open_calls(platform: Platform, job_ids: list[str]) -> int:
    opened: int = platform.stack.value(
        "SELECT count(*) FROM jobs_call WHERE job_id = ANY(%s::uuid[]) AND state IN ('queued', 'running')", job_ids
    )
    return opened


def _swept_at(platform: Platform) -> datetime:
    seen_at: datetime = platform.stack.value("SELECT max(seen_at) FROM core_process WHERE kind = 'sweeper'")
    return seen_at
