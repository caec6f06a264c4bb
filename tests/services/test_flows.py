"""What customers do, by HTTP, through real processes: the seven documented flows."""

import asyncio

import pytest

from examples.typed_client import SaaSLLMClient
from tests.services.conftest import Platform

pytestmark = pytest.mark.services


def test_one_question_costs_one_credit(platform: Platform) -> None:
    customer = platform.customer()
    before = customer.get("/teams/acme/jobs").json()["total"]
    job_id = customer.open_job("simple_query")

    answer = customer.call(job_id, "What is Python programming?")
    completed = customer.complete(job_id)

    assert answer.json()["response"]["content"] == "Answer 1 to: What is Python programming?"
    assert completed.json()["costs"]["credit_applied"] is True
    assert platform.charges(job_id) == [1_000_000]
    assert customer.get("/teams/acme/jobs").json()["total"] == before + 1


def test_conversation_feeds_the_answer_back(platform: Platform) -> None:
    customer = platform.customer()
    job_id = customer.open_job("conversation")
    messages = [{"role": "user", "content": "What is FastAPI?"}]

    first = customer.request("POST", f"/jobs/{job_id}/llm-call", {"messages": messages}).json()
    messages += [
        {"role": "assistant", "content": first["response"]["content"]},
        {"role": "user", "content": "How is it different from Flask?"},
    ]
    second = customer.request("POST", f"/jobs/{job_id}/llm-call", {"messages": messages}).json()
    completed = customer.complete(job_id).json()

    assert second["response"]["content"] == "Answer 3 to: How is it different from Flask?"
    assert completed["costs"]["total_calls"] == 2
    assert platform.charges(job_id) == [1_000_000]


def test_document_analysis_keeps_metadata_and_passes_parameters_on(platform: Platform) -> None:
    customer = platform.customer()
    job_id = customer.open_job("document_analysis", metadata={"document_length": 512})
    body = {"messages": [{"role": "user", "content": "Extract key points"}], "temperature": 0.3, "max_tokens": 3}

    short = customer.request("POST", f"/jobs/{job_id}/llm-call", body).json()
    customer.call(job_id, "Summarize it")
    completed = customer.complete(job_id).json()

    assert short["response"]["finish_reason"] == "length"
    assert completed["costs"]["total_calls"] == 2
    assert customer.get(f"/jobs/{job_id}").json()["metadata"] == {"document_length": 512}


@pytest.mark.parametrize(("model", "status"), [("fake-429", 429), ("fake-500", 500), ("fake-400", 400)])
def test_failed_call_says_so_and_can_be_asked_again_in_the_same_job(
    platform: Platform, model: str, status: int
) -> None:
    customer = platform.customer()
    job_id = customer.open_job()

    failed = customer.call(job_id, "Will it work?", model=model)
    again = customer.call(job_id, "Will it work?")

    assert (failed.status_code, again.status_code) == (status, 200)
    assert failed.json()["detail"].startswith("LLM call failed: ")
    costs = customer.complete(job_id).json()["costs"]
    assert (costs["successful_calls"], costs["failed_calls"], costs["credits_charged"]) == (1, 1, "1")


def test_typed_client_asks_and_completes(platform: Platform) -> None:
    customer = platform.customer()

    async def ask() -> tuple[str, int]:
        async with SaaSLLMClient(
            base_url=customer.base_url, team_id=customer.team_id, virtual_key=customer.key
        ) as client:
            job_id = await client.create_job("simple_query")
            answer = await client.chat(job_id=job_id, messages=[{"role": "user", "content": "Explain recursion"}])
            result = await client.complete_job(job_id, "completed")
            return answer.choices[0].message["content"], result.total_calls

    assert asyncio.run(ask()) == ("Answer 1 to: Explain recursion", 1)


def test_batch_of_texts_is_one_charge(platform: Platform) -> None:
    customer = platform.customer()
    job_id = customer.open_job("batch")

    contents = [customer.call(job_id, text).json()["response"]["content"] for text in ("good", "bad", "okay")]

    assert contents == ["Answer 1 to: good", "Answer 1 to: bad", "Answer 1 to: okay"]
    customer.complete(job_id)
    assert platform.charges(job_id) == [1_000_000]


def test_team_sees_its_credits_with_its_own_key(platform: Platform) -> None:
    team = platform.customer("globex").get("/teams/globex").json()

    assert (team["team_id"], team["status"], team["credits_allocated"]) == ("globex", "active", 10_000)
    assert team["credits_remaining"] <= 10_000


def test_metered_job_costs_what_the_provider_billed(platform: Platform) -> None:
    customer = platform.customer("metered")
    job_id = customer.open_job()
    for text in ("A first question", "A second question, which is longer"):
        assert customer.call(job_id, text).status_code == 200

    completed = customer.complete(job_id).json()

    billed_nanousd = sum(execution.billed_nanousd for execution in platform.executions())
    # A million credits a dollar: a thousand nano-dollars a credit, floored to whole credits.
    assert platform.charges(job_id) == [billed_nanousd // 1000 * 1_000_000]
    assert completed["costs"]["total_cost_usd"] == pytest.approx(billed_nanousd / 1e9, abs=1e-6)


def test_create_and_call_is_charged_at_its_end(platform: Platform) -> None:
    answer = platform.customer().create_and_call("One question").json()

    assert (answer["status"], answer["costs"]["credit_applied"]) == ("completed", True)
    assert platform.charges(answer["job_id"]) == [1_000_000]
