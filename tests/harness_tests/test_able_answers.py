import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.harness import able_answers
from tests.harness.fake_provider import RunningProvider, running_provider

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("get_weather", "get_time")]


@pytest.fixture
def provider() -> Iterator[RunningProvider]:
    with running_provider() as running:
        yield running


def opened(provider: RunningProvider, text: str, **more: Any) -> requests.Response:
    body = {"model": "fake-able", "messages": [{"role": "user", "content": text}], **more}
    return requests.post(f"{provider.url}/v1/chat/completions", json=body, timeout=5)


def choice(provider: RunningProvider, text: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = opened(provider, text, **more).json()["choices"][0]
    return found


@pytest.mark.parametrize(
    ("text", "more", "names"),
    [
        ("get_weather and get_time", {}, ["get_weather", "get_time"]),
        ("get_weather and get_time", {"parallel_tool_calls": False}, ["get_weather"]),
        ("get_time", {"tool_choice": "none"}, []),
        ("Hello", {"tool_choice": "required"}, ["get_weather"]),
        ("Hello", {"tool_choice": {"type": "function", "function": {"name": "get_time"}}}, ["get_time"]),
        ("Hello", {}, []),
    ],
)
def test_tools_are_called_as_asked(provider: RunningProvider, text: str, more: Any, names: list[str]) -> None:
    answer = choice(provider, text, tools=TOOLS, **more)
    calls = answer["message"].get("tool_calls", [])
    assert [call["function"]["name"] for call in calls] == names
    assert answer["finish_reason"] == ("tool_calls" if names else "stop")


def test_a_tool_s_answer_ends_the_round(provider: RunningProvider) -> None:
    messages = [{"role": "user", "content": "get_time"}, {"role": "tool", "tool_call_id": "c", "content": "noon"}]
    assert choice(provider, "", messages=messages, tools=TOOLS)["message"]["content"] == "The tool answered: noon"


def test_shapes_stops_and_caps_are_kept(provider: RunningProvider) -> None:
    schema = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}
    shape = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    assert isinstance(json.loads(choice(provider, "?", response_format=shape)["message"]["content"])["size"], int)
    as_json = choice(provider, "Hello", response_format={"type": "json_object"})["message"]["content"]
    assert json.loads(as_json) == {"answer": "You asked: Hello"}
    assert choice(provider, "Hello", stop="lo")["message"]["content"] == "You asked: Hel"
    assert choice(provider, "Hello", max_tokens=1)["finish_reason"] == "length"


def test_logprobs_are_told_whole_and_in_pieces(provider: RunningProvider) -> None:
    asked = {"logprobs": True, "top_logprobs": 2, "n": 2}
    whole = opened(provider, "Hello you", **asked).json()["choices"]
    lines = opened(provider, "Hello you", stream=True, **asked).text.splitlines()
    pieces = [json.loads(line[6:])["choices"][0] for line in lines if line.startswith("data: {")]
    for index in (0, 1):
        told = [piece["logprobs"]["content"] for piece in pieces if piece["index"] == index and "logprobs" in piece]
        assert [each for (each,) in told] == whole[index]["logprobs"]["content"]
        assert "".join(each["token"] for (each,) in told) == "You asked: Hello you"
        assert len(whole[index]["logprobs"]["content"][0]["top_logprobs"]) == 2


def test_it_tells_what_it_was_sent_and_names_its_vendor(provider: RunningProvider) -> None:
    answer = opened(provider, able_answers.WHAT_WERE_YOU_SENT, seed=7, user="acme").json()
    message = answer["choices"][0]["message"]
    assert json.loads(message["content"]) == {"seed": 7}
    assert able_answers.CANARY_FIELD in message
    assert answer["system_fingerprint"] == able_answers.CANARY_FINGERPRINT
    assert provider.executions()[0].billed_completion_tokens > 0
