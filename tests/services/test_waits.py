"""Callers wait as long as they say, are sent away with an address for the answer, and never take the last thread."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.harness import processes
from tests.services.conftest import Platform
from tests.services.stack import wait_until

pytestmark = pytest.mark.services

THREADS, PLACES = 8, 6
AT_ONCE_S = 1.0


def test_caller_whose_wait_is_over_finds_the_answer_at_the_calls_address(platform: Platform) -> None:
    customer = platform.customer()
    job_id = customer.open_job()
    asked_at = time.monotonic()

    sent_away = customer.call(job_id, "Slow?", model="fake-hold", wait_s=1)
    took_s = time.monotonic() - asked_at
    body = sent_away.json()
    meanwhile = customer.get(body["url"].removeprefix("/api"))
    platform.provider.release()
    platform.until_settled(job_id)
    afterwards = customer.call_of(job_id, body["call_id"])

    assert (sent_away.status_code, body["code"]) == (503, "call_still_running")
    assert int(sent_away.headers["Retry-After"]) >= 1
    assert 1 <= took_s < 3
    assert (meanwhile.status_code, meanwhile.json()["status"]) == (200, "running")
    assert afterwards["response"]["content"] == "Answer 1 to: Slow?"


def test_identical_request_gets_the_call_whose_caller_was_sent_away(
    platform: Platform, background: ThreadPoolExecutor
) -> None:
    customer = platform.customer()
    sent_away = customer.create_and_call("Again?", model="fake-hold", wait_s=1)
    again = background.submit(customer.create_and_call, "Again?", model="fake-hold", wait_s=20)
    wait_until(lambda: _unanswered_at(platform, sent_away.json()["call_id"]) is None, what="the repeat to attach")
    platform.provider.release()

    answer = again.result()

    assert (answer.status_code, answer.json()["call_id"]) == (200, sent_away.json()["call_id"])
    assert len(platform.executions()) == 1
    assert platform.charges(answer.json()["job_id"]) == [1_000_000]


def test_call_that_somebody_waits_for_again_does_not_expire(
    platform: Platform, background: ThreadPoolExecutor
) -> None:
    customer = platform.customer()
    platform.stack.kill(platform.worker)
    sent_away = customer.create_and_call("Taken late?", wait_s=1)
    call_id = sent_away.json()["call_id"]
    again = background.submit(customer.create_and_call, "Taken late?", wait_s=30)
    wait_until(lambda: _unanswered_at(platform, call_id) is None, what="the repeat to attach")

    first_wait_is_over = "SELECT created_at < now() - interval '3.5 s' FROM jobs_call WHERE id = %s"
    wait_until(lambda: platform.stack.value(first_wait_is_over, call_id), what="the first wait to be over")
    processes.manage(platform.stack.env, "sweep")
    platform.worker = platform.stack.start_worker()

    assert (again.result().status_code, again.result().json()["call_id"]) == (200, call_id)


def test_all_places_taken_means_503_at_once_while_the_rest_answers(
    platform: Platform, background: ThreadPoolExecutor
) -> None:
    web = platform.stack.start_web(threads=THREADS)
    customer = platform.customer(web=web)
    answered, refused = customer.open_job(), customer.open_job()
    customer.call(answered, "Before")
    for number in range(PLACES):
        background.submit(customer.create_and_call, f"Waiting {number}", model="fake-hold")
    platform.until_executed(1 + PLACES)
    asked_at = time.monotonic()

    one_too_many = customer.call(refused, "No place?")
    health = requests.get(f"{web.url}/health", timeout=5)
    completed = customer.complete(answered)
    took_s = time.monotonic() - asked_at

    assert (one_too_many.status_code, one_too_many.json()["code"]) == (503, "server_busy")
    assert int(one_too_many.headers["Retry-After"]) >= 1
    assert (health.status_code, completed.status_code) == (200, 200)
    assert took_s < AT_ONCE_S
    # Refused is refused: nothing was admitted, so nothing is held.
    assert platform.stack.value("SELECT total_calls FROM jobs_job WHERE id = %s", refused) == 0
    platform.provider.release()
    platform.stack.kill(web)


def _unanswered_at(platform: Platform, call_id: str) -> object:
    return platform.stack.value("SELECT unanswered_at FROM jobs_call WHERE id = %s", call_id)


def test_calls_that_came_in_one_message_are_settled_with_one_connection(
    platform: Platform, background: ThreadPoolExecutor
) -> None:
    customer = platform.customer()
    job_ids = [customer.open_job() for _ in range(6)]
    # What is published again goes out together.
    platform.stack.kill(platform.worker)
    answers = [background.submit(customer.call, job_id, "Together?", wait_s=15) for job_id in job_ids]
    opened = "SELECT count(*) FROM jobs_call WHERE job_id = ANY(%s::uuid[])"
    wait_until(lambda: platform.stack.value(opened, job_ids) == len(job_ids), what="the calls to be admitted")
    platform.stack.redis().flushdb()

    platform.worker = platform.stack.start_worker(DB_POOL_MAX="1")

    assert {answer.result().status_code for answer in answers} == {200}
    # The small worker is not for the tests that follow.
    platform.stack.kill(platform.worker)
