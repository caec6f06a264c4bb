"""The typed client and a job's budget: what is sent, what is read of it, and how the ceiling is met."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from examples.typed_client import InsufficientCredits, JobCapReached
from tests.examples.fake_api import ANSWER, COMPLETED, DONE, HELLO, JOB_ID, Server, chunk, streamed

ESCROW = {
    "max_credits": 20,
    "held": 12,
    "used": 5,
    "remaining": 7,
    "max_credits_exact": "20.5",
    "held_exact": "12",
    "used_exact": "5.5",
    "remaining_exact": "7.5",
    "reserve": False,
    "on_cap": "pause",
    "deadline": None,
}
CHANGED = {"job_id": JOB_ID, "status": "in_progress", "paused_reason": "budget", "escrow": ESCROW}


def test_budget_is_sent_with_the_job() -> None:
    server = Server()

    server.run(
        lambda client: client.create_job("agent", max_credits="2.5", on_cap="pause", deadline=60, reserve=True)
    )

    assert server.body == {
        "team_id": "acme",
        "job_type": "agent",
        "max_credits": "2.5",
        "on_cap": "pause",
        "deadline": 60,
        "reserve": True,
    }


def test_job_without_a_budget_says_nothing_of_one() -> None:
    server = Server()

    server.run(lambda client: client.create_job("agent", max_credits=None))

    assert server.body == {"team_id": "acme", "job_type": "agent"}


def test_deadline_may_be_an_instant() -> None:
    server = Server()
    at = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)

    server.run(lambda client: client.create_job("agent", deadline=at))

    assert datetime.fromisoformat(server.body["deadline"]) == at


def test_budget_that_nobody_knows_is_a_type_error() -> None:
    server = Server()

    for use in (
        lambda client: client.create_job("agent", max_credit=1),
        lambda client: client.update_job(JOB_ID, max_credit=1),
    ):
        with pytest.raises(TypeError, match="max_credit"):
            server.run(use)
    assert server.requests == []


def test_job_is_updated_and_null_lifts_a_ceiling() -> None:
    server = Server(**{JOB_ID: CHANGED})

    changed = server.run(lambda client: client.update_job(JOB_ID, max_credits=None, on_cap="pause"))

    assert (server.requests[0].method, server.requests[0].url.path) == ("PATCH", f"/api/jobs/{JOB_ID}")
    assert server.body == {"max_credits": None, "on_cap": "pause"}
    assert (changed.paused_reason, changed.escrow.remaining_exact) == ("budget", "7.5")


def test_what_is_left_is_read_of_answers_streams_and_completions() -> None:
    server = Server(
        llm_call={**ANSWER, "escrow": ESCROW},
        llm_call_stream=streamed(chunk("Hi", escrow=ESCROW), DONE),
        complete={**COMPLETED, "escrow": ESCROW},
    )

    async def use(client: Any) -> list[Any]:
        await client.create_job("agent")
        whole = await client.chat(messages=HELLO)
        pieces = [piece async for piece in client.chat_stream(messages=HELLO)]
        return [whole, *pieces, await client.complete_job()]

    assert [each.escrow.remaining for each in server.run(use)] == [7, 7, 7]


def test_job_is_cancelled_and_no_longer_the_current_one() -> None:
    server = Server(cancel={**COMPLETED, "status": "cancelled"})

    async def use(client: Any) -> tuple[str, Any]:
        await client.create_job("agent")
        done = await client.cancel_job(reason="not needed")
        return done.status, client.current_job_id

    assert server.run(use) == ("cancelled", None)
    assert server.body == {"reason": "not needed"}


def test_blocking_client_has_the_same() -> None:
    server = Server(cancel=COMPLETED, **{JOB_ID: CHANGED})

    with server.sync_client() as client:
        assert client.create_job("agent", max_credits=3) == JOB_ID
        assert client.update_job(max_credits=4).escrow is not None
        assert client.cancel_job().status == "completed"
        with client.job("agent", max_credits=5):
            assert server.body["max_credits"] == 5


@pytest.mark.parametrize(
    "refusal",
    [
        httpx.Response(403, json={"detail": "At its max_credits: 5 credits.", "code": "job_cap_reached"}),
        httpx.Response(402, json={"error": {"message": "At its max_credits.", "code": "job_cap_reached"}}),
    ],
)
def test_ceiling_has_an_error_of_its_own(refusal: httpx.Response) -> None:
    server = Server(llm_call=refusal)

    with pytest.raises(JobCapReached) as caught:
        server.run(lambda client: client.chat(JOB_ID, HELLO), max_retries=2)

    assert isinstance(caught.value, InsufficientCredits)
    assert len(server.requests) == 1
