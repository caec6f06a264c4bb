"""An agent: the model asks for tools, this program runs them, until there is an answer. One job, one charge."""

import asyncio
import json
import os
from collections.abc import Callable

from typed_client import Message, SaaSLLMClient, ToolCall

TURNS_MAX = 5


def get_weather(city: str) -> str:
    return json.dumps({"city": city, "celsius": 12, "sky": "light rain"})


def get_opening_hours(shop: str) -> str:
    return json.dumps({"shop": shop, "open": "09:00", "close": "18:00"})


TOOLS: dict[str, Callable[..., str]] = {"get_weather": get_weather, "get_opening_hours": get_opening_hours}


def described(name: str, description: str, argument: str) -> dict:
    """A function with one argument, as models are told of it."""
    parameters = {
        "type": "object",
        "properties": {argument: {"type": "string"}},
        "required": [argument],
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


DESCRIPTIONS = [
    described("get_weather", "The weather in a city now", "city"),
    described("get_opening_hours", "When a shop is open", "shop"),
]


def result_of(call: ToolCall) -> Message:
    """Run a tool. The model hears of its own mistakes, so that it can mend them."""
    try:
        content = TOOLS[call.function.name](**json.loads(call.function.arguments))
    except (KeyError, TypeError, ValueError) as error:
        content = json.dumps({"error": f"{type(error).__name__}: {error}"})
    return Message(role="tool", tool_call_id=call.id, content=content)


async def main() -> None:
    async with SaaSLLMClient(
        base_url="http://localhost:8003",
        team_id=os.environ["SAAS_LITELLM_TEAM_ID"],
        virtual_key=os.environ["SAAS_LITELLM_VIRTUAL_KEY"],
    ) as client:
        question = "Get weather and get opening hours of the market hall in Graz: should I go there on foot?"
        messages: list = [{"role": "user", "content": question}]

        async with client.job("agent") as job:
            for _ in range(TURNS_MAX):
                answer = await client.chat(job.job_id, messages, tools=DESCRIPTIONS, purpose="agent")
                if not answer.tool_calls:
                    print(f"Answer: {answer.content}")
                    break
                messages.append(answer.choices[0].message)
                for call in answer.tool_calls:
                    print(f"Tool: {call.function.name}({call.function.arguments})")
                    messages.append(result_of(call))
            else:
                raise RuntimeError(f"no answer after {TURNS_MAX} turns")

        print(f"Calls: {job.completion.total_calls}")
        print(f"Credits remaining: {job.completion.credits_remaining}")


if __name__ == "__main__":
    asyncio.run(main())
