"""Processes die or stall in the middle of a call: it is taken over, settled once, and its caller gets its answer."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.harness import processes
from tests.services.conftest import Platform
from tests.services.stack import wait_until

pytestmark = pytest.mark.services


def test_b10_call_of_a_killed_worker_is_taken_over_and_settled_once(
    platform: Platform, background: ThreadPoolExecutor
) -> None:
    customer = platform.customer()
    job_id = customer.open_job()
    answer = background.submit(customer.call, job_id, "Who answers?", model="fake-hold")
    platform.until_executed(1)

    platform.stack.kill(platform.worker)
    platform.worker = platform.stack.start_worker()
    platform.until_executed(2)
    platform.provider.release()

    assert answer.result().status_code == 200
    assert platform.attempts(job_id) == [(1, "abandoned"), (2, "succeeded")]
    assert customer.complete(job_id).json()["costs"]["total_calls"] == 1
    assert platform.charges(job_id) == [1_000_000]
    # The dead try may have been billed: its cost is counted, and no customer pays it.
    lost, served = platform.stack.rows(
        "SELECT lost_cost_nanousd, provider_cost_nanousd FROM jobs_job WHERE id = %s", job_id
    )[0]
    assert lost > 0
    assert served == platform.executions()[1].billed_nanousd


def test_late_answer_of_a_stalled_worker_neither_settles_nor_reaches_the_caller(
    platform: Platform, background: ThreadPoolExecutor
) -> None:
    customer = platform.customer()
    job_id = customer.open_job()
    stalled = platform.worker
    answer = background.submit(customer.call, job_id, "Who answers?", model="fake-hold")
    platform.until_executed(1)

    # Its answer comes while it is stalled; it reads it only after its lease went to another worker.
    os.killpg(stalled.pid, signal.SIGSTOP)
    platform.provider.release()
    platform.worker = platform.stack.start_worker()
    try:
        platform.until_executed(2)
    finally:
        os.killpg(stalled.pid, signal.SIGCONT)
    wait_until(lambda: "ended by another claim" in stalled.log(), what="the late answer to be refused")
    platform.stack.kill(stalled)
    platform.provider.release()

    response = answer.result()
    assert response.status_code == 200, response.text
    assert platform.attempts(job_id) == [(1, "abandoned"), (2, "succeeded")]


def test_call_outlives_the_web_process_that_waited_for_it(platform: Platform, background: ThreadPoolExecutor) -> None:
    customer = platform.customer()
    background.submit(customer.create_and_call, "Who hears it?", model="fake-hold")
    platform.until_executed(1)
    call_id = platform.executions()[0].call_id
    process, job_id = platform.stack.rows("SELECT reply_to, job_id FROM jobs_call WHERE id = %s", call_id)[0]

    platform.stack.kill(platform.web)
    platform.provider.release()
    platform.until_settled(job_id)
    platform.web = platform.stack.start_web(port=platform.web.port or 0)
    # As if the time had passed after which a silent process counts as dead.
    platform.stack.rows(
        "UPDATE core_process SET seen_at = seen_at - interval '20 s' WHERE name = %s RETURNING name", process
    )
    wait_until(
        lambda: platform.stack.value("SELECT unanswered_at FROM jobs_call WHERE id = %s", call_id),
        what="the caller to be known to be gone",
    )

    repeated = customer.create_and_call("Who hears it?", model="fake-hold")

    assert (repeated.status_code, repeated.json()["call_id"]) == (200, call_id)
    assert len(platform.executions()) == 1
    assert platform.charges(job_id) == [1_000_000]


def test_b10_cut_database_connections_during_a_call_cost_nothing(
    platform: Platform, background: ThreadPoolExecutor
) -> None:
    customer = platform.customer()
    job_id = customer.open_job()
    answer = background.submit(customer.call, job_id, "Still there?", model="fake-hold")
    platform.until_executed(1)

    assert platform.stack.cut_postgres() > 0
    platform.provider.release()
    platform.until_settled(job_id)

    response = answer.result()
    assert response.status_code == 200, response.text
    assert platform.attempts(job_id) == [(1, "succeeded")]


def test_caller_sent_away_while_the_database_is_gone_is_remembered(
    platform: Platform, background: ThreadPoolExecutor
) -> None:
    database = urlsplit(platform.stack.database_url)
    proxy = processes.start_tcp_proxy(target=f"{database.hostname}:{database.port}")
    through_proxy = database._replace(netloc=f"{database.username}@127.0.0.1:{proxy.port}").geturl()
    web = platform.stack.start_web(DATABASE_URL=through_proxy, DB_POOL_TIMEOUT_S="0.5")
    customer = platform.customer(web=web)
    answer = background.submit(customer.create_and_call, "Who comes back?", model="fake-hold", wait_s=1)
    platform.until_executed(1)
    call_id = platform.executions()[0].call_id

    processes.set_proxy_mode(proxy, "refuse")
    sent_away = answer.result()
    processes.set_proxy_mode(proxy, "pass")
    wait_until(
        lambda: platform.stack.value("SELECT unanswered_at FROM jobs_call WHERE id = %s", call_id),
        what="the caller to be remembered",
    )
    platform.provider.release()
    repeated = customer.create_and_call("Who comes back?", model="fake-hold")

    assert (sent_away.status_code, "call_id" in sent_away.json()) == (503, False)
    assert (repeated.status_code, repeated.json()["call_id"]) == (200, call_id)
    assert len(platform.executions()) == 1
    platform.stack.kill(web)
    proxy.kill()
