"""An answer as it is written, and what its job came to."""

import asyncio
import os

from typed_client import SaaSLLMClient, StreamError


async def main() -> None:
    async with SaaSLLMClient(
        base_url="http://localhost:8003",
        team_id=os.environ["SAAS_LITELLM_TEAM_ID"],
        virtual_key=os.environ["SAAS_LITELLM_VIRTUAL_KEY"],
    ) as client:
        async with client.job("explanation") as job:
            messages = [{"role": "user", "content": "What is Django?"}]
            usage = None
            try:
                async for chunk in client.chat_stream(job.job_id, messages):
                    print(chunk.content, end="", flush=True)
                    usage = chunk.usage or usage
            except StreamError as error:
                # What was printed is not the whole answer. Leaving the block by an exception fails the job.
                print(f"\n{error}")
                raise

        print(f"\n\nTokens: {usage.total_tokens if usage else 'unknown'}")
        print(f"Credits remaining: {job.completion.credits_remaining}")


if __name__ == "__main__":
    asyncio.run(main())
