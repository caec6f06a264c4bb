import asyncio
import os
import sys
from pathlib import Path

# Started by its path, Python looks beside this file for imports: the client is found from the project's root.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from examples.typed_client import SaaSLLMClient  # noqa: E402

async def typed_client_example():
    """Example using the type-safe client"""

    async with SaaSLLMClient(
        base_url="http://localhost:8003",
        team_id=os.environ["SAAS_LITELLM_TEAM_ID"],
        virtual_key=os.environ["SAAS_LITELLM_VIRTUAL_KEY"]
    ) as client:

        # Create job
        job_id = await client.create_job("simple_query")
        print(f"Created job: {job_id}")

        # Make LLM call
        response = await client.chat(
            job_id=job_id,
            messages=[
                {"role": "user", "content": "Explain recursion in Python"}
            ]
        )

        print(f"\nResponse:\n{response.choices[0].message['content']}")

        # Complete job
        result = await client.complete_job(job_id, "completed")
        print(f"\nCredits remaining: {result.credits_remaining}")

if __name__ == "__main__":
    asyncio.run(typed_client_example())
