"""Tools: calls of one or several, a whole round with their results, as a stream, and parsed by the client."""

import json
from typing import Any

import openai
from pydantic import BaseModel

from tests.acceptance.openai_sdk.asking import ask
from tests.acceptance.openai_sdk.platform import CHAT, Customer

BOTH = "Call get_weather and get_time for Graz."


class GetWeather(BaseModel):
    """The weather in a city now."""

    city: str
    days: int


def _tool(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return {"type": "function", "function": {"name": name, "description": "in a city", "parameters": parameters}}


TOOLS = [_tool("get_weather"), _tool("get_time")]


def called(message: Any) -> list[str]:
    """The functions that a message calls, each with arguments for a city."""
    calls = message.tool_calls or []
    assert all(isinstance(json.loads(call.function.arguments)["city"], str) for call in calls)
    assert all(call.id and call.type == "function" for call in calls)
    return [call.function.name for call in calls]


def model_calls_the_tools_that_it_wants(at: Customer) -> None:
    (choice,) = ask(at, BOTH, tools=TOOLS).choices

    assert called(choice.message) == ["get_weather", "get_time"]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert len({call.id for call in choice.message.tool_calls}) == 2
    assert at.left() == 9


def tool_calls_may_be_kept_to_one(at: Customer) -> None:
    assert called(ask(at, BOTH, tools=TOOLS, parallel_tool_calls=False).choices[0].message) == ["get_weather"]
    assert called(ask(at, BOTH, tools=TOOLS, parallel_tool_calls=True).choices[0].message) == [
        "get_weather",
        "get_time",
    ]


def choice_of_tools_is_heeded(at: Customer) -> None:
    named = {"type": "function", "function": {"name": "get_time"}}
    for choice, names in (("none", []), ("required", ["get_weather"]), (named, ["get_time"])):
        message = ask(at, "Hello", tools=TOOLS, tool_choice=choice).choices[0].message

        assert called(message) == names, choice
        assert (message.content is None) is bool(names), choice


def round_with_tools_ends_in_a_text(at: Customer) -> None:
    messages: list[Any] = [{"role": "user", "content": BOTH}]
    message = ask(at, messages=messages, tools=TOOLS).choices[0].message
    # The client's own object goes back as it is, as its documentation has it.
    messages.append(message)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in message.tool_calls]
    (choice,) = ask(at, messages=messages, tools=TOOLS).choices

    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    assert "rain" in choice.message.content
    assert at.left() == 8


def gathered(chunks: list[Any]) -> list[tuple[str, str, str]]:
    """Id, name and arguments of each call in a stream, put together as the documentation of streams has it."""
    calls: dict[int, list[str]] = {}
    for piece in [each for chunk in chunks for choice in chunk.choices for each in choice.delta.tool_calls or []]:
        said = (piece.id, piece.function.name, piece.function.arguments)
        known = calls.setdefault(piece.index, ["", "", ""])
        calls[piece.index] = [before + (more or "") for before, more in zip(known, said, strict=True)]
    return [(call_id, name, arguments) for _, (call_id, name, arguments) in sorted(calls.items())]


def tool_calls_are_streamed(at: Customer) -> None:
    chunks = list(ask(at, BOTH, tools=TOOLS, stream=True))

    calls = gathered(chunks)
    assert [name for _, name, _ in calls] == ["get_weather", "get_time"]
    assert all("city" in json.loads(arguments) for _, _, arguments in calls)
    assert len({call_id for call_id, _, _ in calls}) == 2
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def streamed_tool_calls_are_had_again_under_their_key(at: Customer) -> None:
    options = {"tools": TOOLS, "stream": True, "extra_headers": {"Idempotency-Key": "k-1"}}
    first, again = (gathered(list(ask(at, BOTH, **options))) for _ in range(2))

    assert first == again != []
    assert (at.left(), len(at.jobs())) == (9, 1)


def streamed_tool_calls_are_parsed_by_the_client(at: Customer) -> None:
    tools = [openai.pydantic_function_tool(GetWeather, name="get_weather")]
    messages = [{"role": "user", "content": "get_weather in Graz"}]
    with at.client.chat.completions.stream(model=CHAT, messages=messages, tools=tools) as stream:
        events = list(stream)
        (choice,) = stream.get_final_completion().choices

    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    (call,) = choice.message.tool_calls
    assert [event.name for event in done] == ["get_weather"]
    assert isinstance(done[0].parsed_arguments, GetWeather)
    assert call.function.parsed_arguments == done[0].parsed_arguments


def tool_call_is_parsed_by_the_client(at: Customer) -> None:
    completion = at.client.chat.completions.parse(
        model=CHAT,
        messages=[{"role": "user", "content": "get_weather in Graz"}],
        tools=[openai.pydantic_function_tool(GetWeather, name="get_weather")],
    )

    (call,) = completion.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, GetWeather)


CHECKS = (
    model_calls_the_tools_that_it_wants,
    tool_calls_may_be_kept_to_one,
    choice_of_tools_is_heeded,
    round_with_tools_ends_in_a_text,
    tool_calls_are_streamed,
    streamed_tool_calls_are_had_again_under_their_key,
    streamed_tool_calls_are_parsed_by_the_client,
    tool_call_is_parsed_by_the_client,
)
