"""Many clients at once: no more is admitted than can be paid, and nothing is charged twice."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.services.conftest import Platform

pytestmark = pytest.mark.services

CALLS, CLIENTS, CREDITS = 500, 64, 10


def test_b1_five_hundred_calls_against_ten_credits_admit_exactly_ten(platform: Platform) -> None:
    customer = platform.customer("ten")

    def ask(number: int) -> tuple[str, int, str]:
        job_id = customer.open_job()
        response = customer.call(job_id, f"Question {number}")
        while response.json().get("code") == "server_busy":
            # More clients than the process lets wait: refused before anything was looked at.
            response = customer.call(job_id, f"Question {number}")
        return job_id, response.status_code, response.json().get("detail", "")

    with ThreadPoolExecutor(max_workers=CLIENTS) as clients:
        results = list(clients.map(ask, range(CALLS)))

    refusals = {detail for _, status, detail in results if status == 403}
    assert sorted({status for _, status, _ in results}) == [200, 403]
    assert sum(status == 200 for _, status, _ in results) == CREDITS
    # Nothing is completed yet, so the ten that were admitted hold all of it and have used none.
    assert refusals == {"Insufficient credits. Team has 0 credits remaining, but 1 required. Allocated: 10, Used: 0"}
    assert len(platform.executions()) == CREDITS
    assert _balance(platform, "ten") == (10_000_000, 10_000_000, 0)

    with ThreadPoolExecutor(max_workers=CLIENTS) as clients:
        completed = list(clients.map(customer.complete, [job_id for job_id, _, _ in results]))

    assert {response.status_code for response in completed} == {200}
    assert _balance(platform, "ten") == (0, 0, 0)
    assert sum(len(platform.charges(job_id)) for job_id, _, _ in results) == CREDITS
    lowest = "SELECT min(debit_balance_micros) FROM credits_entry WHERE kind = 'charge' AND job = ANY(%s)"
    assert platform.stack.value(lowest, [job_id for job_id, _, _ in results]) == 0


def test_job_completed_twenty_times_at_once_is_charged_once(platform: Platform) -> None:
    customer = platform.customer()
    job_id = customer.open_job()
    customer.call(job_id, "Charged once?")

    with ThreadPoolExecutor(max_workers=20) as clients:
        completed = list(clients.map(lambda _: customer.complete(job_id), range(20)))

    assert {response.status_code for response in completed} == {200}
    assert {response.json()["costs"]["credits_charged"] for response in completed} == {"1"}
    assert platform.charges(job_id) == [1_000_000]


def test_same_key_sent_twenty_times_at_once_is_one_call(platform: Platform) -> None:
    customer = platform.customer()

    with ThreadPoolExecutor(max_workers=20) as clients:
        answers = list(
            clients.map(lambda _: customer.create_and_call("Asked once?", idempotency_key="twenty"), range(20))
        )

    assert {response.status_code for response in answers} == {200}
    assert len({response.json()["call_id"] for response in answers}) == 1
    assert len(platform.executions()) == 1
    assert platform.charges(answers[0].json()["job_id"]) == [1_000_000]


def _balance(platform: Platform, team_id: str) -> tuple[int, int, int]:
    """Posted, held and debt."""
    return platform.stack.rows(
        "SELECT a.posted_micros, a.held_micros, a.debt_micros FROM credits_account a"
        " JOIN teams_team t ON t.id = a.team_id WHERE t.team_id = %s",
        team_id,
    )[0]
