"""Retrieval: texts and a question become vectors, the nearest texts go into the prompt. One job, one charge.

SAAS_LITELLM_EMBEDDING_MODEL names the embedding model; without it the team's default is asked. The demo provider's
vectors know nothing of meaning: what it finds is chance.
"""

import asyncio
import math
import os

from typed_client import SaaSLLMClient

HANDBOOK = [
    "Refunds are paid within 14 days to the card that was charged.",
    "The warehouse in Linz ships from Monday to Friday until 15:00.",
    "Gift cards are valid for three years and cannot be paid out.",
    "Damaged goods are replaced free of charge; a photo is enough as proof.",
]
QUESTION = "My cup arrived broken. What do I have to do?"


def likeness(one: list[float], other: list[float]) -> float:
    """The cosine of the angle between two vectors: 1 is the same direction."""
    return sum(a * b for a, b in zip(one, other)) / (math.hypot(*one) * math.hypot(*other))


async def main() -> None:
    model = os.environ.get("SAAS_LITELLM_EMBEDDING_MODEL")
    async with SaaSLLMClient(
        base_url="http://localhost:8003",
        team_id=os.environ["SAAS_LITELLM_TEAM_ID"],
        virtual_key=os.environ["SAAS_LITELLM_VIRTUAL_KEY"],
    ) as client:
        async with client.job("handbook_question") as job:
            # A real program embeds its texts once and keeps the vectors.
            *texts, question = (await client.embeddings([*HANDBOOK, QUESTION], model)).vectors
            order = sorted(range(len(HANDBOOK)), key=lambda i: likeness(texts[i], question), reverse=True)
            found = [HANDBOOK[i] for i in order[:2]]
            for text in found:
                print(f"Found: {text}")

            answer = await client.chat(
                job.job_id,
                [
                    {"role": "system", "content": "Answer from these rules only:\n" + "\n".join(found)},
                    {"role": "user", "content": QUESTION},
                ],
                temperature=0,
            )
            print(f"Answer: {answer.content}")

        print(f"Credits remaining: {job.completion.credits_remaining}")


if __name__ == "__main__":
    asyncio.run(main())
