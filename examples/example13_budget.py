"""An agent with a budget: its job pauses at the ceiling, nothing is lost, and it goes on once more is allowed."""

import asyncio
import os
from decimal import Decimal

from typed_client import ChatCompletionResponse, JobCapReached, SaaSLLMClient

BUDGET = Decimal("0.5")
# What this program may raise it to by itself; beyond that it stops, and somebody has to decide.
ALLOWED = Decimal(4)

QUESTIONS = ["What is Python?", "What is Django?", "How do the two belong together?"]


async def chat(client: SaaSLLMClient, job_id: str, messages: list) -> ChatCompletionResponse:
    """Ask; at the ceiling raise it, as long as that is allowed, and ask again."""
    ceiling = BUDGET
    while True:
        try:
            return await client.chat(job_id, messages, purpose="agent")
        except JobCapReached as error:
            print(f"Paused: {error.detail}")
            ceiling *= 2
            if ceiling > ALLOWED:
                raise
            changed = await client.update_job(job_id, max_credits=str(ceiling))
            print(f"Raised to {changed.escrow.max_credits_exact} credits")


async def main() -> None:
    async with SaaSLLMClient(
        base_url="http://localhost:8003",
        team_id=os.environ["SAAS_LITELLM_TEAM_ID"],
        virtual_key=os.environ["SAAS_LITELLM_VIRTUAL_KEY"],
    ) as client:
        messages: list = []
        budget = {"max_credits": str(BUDGET), "on_cap": "pause", "deadline": 600}
        async with client.job("agent_with_budget", **budget) as job:
            for question in QUESTIONS:
                messages.append({"role": "user", "content": question})
                answer = await chat(client, job.job_id, messages)
                messages.append(answer.choices[0].message)
                print(f"Answer: {answer.content}")
                print(f"Left of the budget: {answer.escrow.remaining_exact}")

        print(f"Calls: {job.completion.total_calls}")
        print(f"Used: {job.completion.escrow.used_exact} of {job.completion.escrow.max_credits_exact} credits")
        print(f"Credits remaining: {job.completion.credits_remaining}")


if __name__ == "__main__":
    asyncio.run(main())
