"""OpenAI's own client: another base URL and the virtual key are all it takes. Needs `openai`."""

import json
import os

from openai import OpenAI

client = OpenAI(base_url="http://localhost:8003/v1", api_key=os.environ["SAAS_LITELLM_VIRTUAL_KEY"])

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city now",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def main() -> None:
    model = client.models.list().data[0].id  # or a name that you know
    print(f"Model: {model}")

    # Each request is a job of its own and costs one credit. `with_raw_response` shows the headers, too.
    raw = client.chat.completions.with_raw_response.create(
        model=model,
        messages=[{"role": "user", "content": "What is Python?"}],
        extra_headers={"X-Job-Type": "explanation"},
    )
    print(f"Answer: {raw.parse().choices[0].message.content}")
    print(f"Credits charged: {raw.headers['x-saasllm-credits-charged']}")

    messages = [{"role": "user", "content": "Get weather in Graz."}]
    message = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER]).choices[0].message
    messages.append(message)
    for call in message.tool_calls or []:
        print(f"Tool: {call.function.name}({call.function.arguments})")
        result = json.dumps({"celsius": 12})
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    last = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
    print(f"With the tool: {last.choices[0].message.content}")

    print("As a stream: ", end="")
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "What is Django?"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
        if chunk.usage:  # the last one
            print(f"\nTokens: {chunk.usage.total_tokens}")


if __name__ == "__main__":
    main()
