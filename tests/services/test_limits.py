"""Limits over several processes, and while Redis, which counts rates, is away."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.services.conftest import Platform
from tests.services.customer import Customer
from tests.services.stack import MASTER_KEY, wait_until

pytestmark = pytest.mark.services

SetLimit = Callable[[str, int], None]


@pytest.fixture
def limit(platform: Platform) -> Iterator[SetLimit]:
    """Sets a limit of the team globex, and takes it away afterwards."""
    made: list[str] = []

    def operator(method: str, path: str, **more: Any) -> Any:
        with requests.Session() as session:
            session.trust_env = False
            headers = {"X-Admin-Key": MASTER_KEY}
            response = session.request(
                method, f"{platform.web.url}/api/limits{path}", headers=headers, timeout=20, **more
            )
        response.raise_for_status()
        return response.json()

    def put(metric: str, amount: int) -> None:
        body = {"scope": "team", "id": "globex", "metric": metric, "amount": amount}
        made.append(operator("PUT", "", json=body)["limit_id"])
        _until_known(platform, metric)

    platform.stack.redis().flushdb()
    yield put
    platform.repair()
    for limit_id in made:
        operator("DELETE", f"/{limit_id}")


def _until_known(platform: Platform, metric: str, *customers: Customer) -> None:
    """A change reaches every process within half a second."""
    for customer in customers or (platform.customer("globex"),):
        wait_until(
            lambda customer=customer: (
                metric in {each["limit"] for each in customer.get("/limits/effective").json()["limits"]}
            ),
            what="the limit to be known",
        )


def test_b19_two_web_processes_count_together(
    platform: Platform, background: ThreadPoolExecutor, limit: SetLimit
) -> None:
    other = platform.stack.start_web()
    limit("requests_per_minute", 10)
    customers = [platform.customer("globex"), platform.customer("globex", web=other)]
    _until_known(platform, "requests_per_minute", *customers)

    answers = [background.submit(customers[number % 2].create_and_call, f"Counted {number}?") for number in range(40)]
    statuses = [answer.result().status_code for answer in answers]

    platform.stack.kill(other)
    assert sorted(set(statuses)) == [200, 429]
    assert statuses.count(200) == 10
    assert len(platform.executions()) == 10


def test_b19_places_come_back_from_workers_elsewhere(platform: Platform, limit: SetLimit) -> None:
    limit("concurrent_calls", 1)
    customer = platform.customer("globex")
    answers = [customer.create_and_call(f"One after the other {number}") for number in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 5


def test_rates_let_calls_through_while_redis_is_away_and_spend_does_not(
    platform: Platform, background: ThreadPoolExecutor, limit: SetLimit
) -> None:
    limit("requests_per_minute", 1)
    before = _used(platform)
    limit("spend_per_day", 3_000_000 + before)
    customer = platform.customer("globex")
    assert customer.create_and_call("The one of this minute").status_code == 200
    assert customer.create_and_call("One too many").status_code == 429

    platform.stack.redis_mode("refuse")
    uncounted = [background.submit(customer.create_and_call, f"Uncounted {n}", wait_s=30) for n in range(2)]
    wait_until(lambda: _held(platform) == 2_000_000, what="the calls to be admitted without Redis")
    over = customer.create_and_call("Over the day's credits")
    platform.stack.redis_mode("pass")

    assert (over.status_code, over.json()["code"]) == (403, "spend_limit_reached")
    assert (over.json()["used"] - before, over.json()["held"]) == (1_000_000, 2_000_000)
    assert {answer.result().status_code for answer in uncounted} == {200}


def test_rates_refuse_while_redis_is_away_if_they_are_told_to(platform: Platform, limit: SetLimit) -> None:
    strict = platform.stack.start_web(RATE_LIMITS_WHEN_REDIS_IS_DOWN="refuse")
    limit("requests_per_minute", 100)
    customer = platform.customer("globex", web=strict)
    _until_known(platform, "requests_per_minute", customer)

    platform.stack.redis_mode("refuse")
    answer = customer.create_and_call("Nobody counts")
    platform.stack.redis_mode("pass")

    platform.stack.kill(strict)
    assert (answer.status_code, answer.json()["code"]) == (503, "limits_unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert platform.executions() == []


def test_b2_a_worker_killed_between_hold_and_settlement_leaves_no_phantom_refusal(
    platform: Platform, background: ThreadPoolExecutor, limit: SetLimit
) -> None:
    hasty = platform.stack.start_web(CALL_DEADLINE_S="3")
    limit("spend_per_day", 1_000_000 + _used(platform))
    customer = platform.customer("globex", web=hasty)
    _until_known(platform, "spend_per_day", customer)
    lost = background.submit(customer.create_and_call, "Held by a dead worker?", model="fake-hold", wait_s=30)
    platform.until_executed(1)
    refused = customer.create_and_call("While it is held")
    platform.stack.kill(platform.worker)
    platform.provider.release()

    wait_until(lambda: _held(platform) == 0, timeout_s=30, what="the hold to be given back")

    platform.repair()
    again = customer.create_and_call("With the same credit")
    platform.stack.kill(hasty)
    assert (lost.result().status_code, lost.result().json()["code"]) == (503, "call_timeout")
    assert (refused.status_code, refused.json()["held"]) == (403, 1_000_000)
    assert again.status_code == 200


def _used(platform: Platform) -> int:
    """What globex has used of this day."""
    used: int = platform.stack.value(
        "SELECT coalesce(max(used_micros), 0) FROM limits_spendwindow WHERE metric = 'spend_per_day'"
    )
    return used


def _held(platform: Platform) -> int:
    held: int = platform.stack.value("SELECT coalesce(max(held_micros), 0) FROM limits_spendwindow")
    return held
