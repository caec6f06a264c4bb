"""What a model cannot do is refused with the field's name; what is not known of it is not judged."""

from dataclasses import replace
from typing import Any

import pytest

from apps.catalog import limits
from apps.catalog.resolution import ResolvedModel
from apps.core.errors import InvalidField

UNKNOWN = ResolvedModel(
    asked="chat",
    alias="chat",
    route="demo",
    provider="",
    provider_model="hidden-model",
    input_nanousd_per_mtok=None,
    output_nanousd_per_mtok=None,
    max_output_tokens=None,
)
MESSAGES = [{"role": "user", "content": "What is Python?"}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "A" * 10_000, "format": "wav"}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}
PARTS = [MESSAGES[0], {"role": "user", "content": [{"type": "text", "text": "Look:"}, IMAGE, AUDIO]}]
EVERYTHING = {
    "messages": PARTS,
    "max_tokens": 10_000_000,
    "max_completion_tokens": 10_000_000,
    "n": 100,
    "tools": TOOLS,
    "response_format": SCHEMA,
}


def model(**limits: Any) -> ResolvedModel:
    return replace(UNKNOWN, **limits)


def refusal(model: ResolvedModel, **body: Any) -> dict[str, Any]:
    with pytest.raises(InvalidField) as caught:
        limits.require_within_limits(model, {"messages": MESSAGES, **body})
    (error,) = caught.value.errors
    assert "hidden-model" not in error["msg"]
    return error


def test_nothing_is_judged_that_is_not_known():
    limits.require_within_limits(UNKNOWN, EVERYTHING)


def test_able_model_takes_everything_up_to_its_limits():
    able = model(
        max_output_tokens=500,
        max_choices=3,
        context_window_tokens=1000,
        supports_vision=True,
        supports_audio=True,
        supports_tools=True,
        supports_json_schema=True,
    )

    limits.require_within_limits(able, EVERYTHING | {"max_tokens": 500, "max_completion_tokens": 500, "n": 3})
    limits.require_within_limits(able, {"messages": MESSAGES, "max_tokens": None, "n": None, "tools": []})


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_more_output_than_the_model_gives(name: str):
    error = refusal(model(max_output_tokens=500), **{name: 501})

    assert error["loc"] == ["body", name]
    assert error["msg"] == "'chat' answers with at most 500 tokens. Ask for 500 or less."


def test_more_answers_than_the_model_gives():
    error = refusal(model(max_choices=1), n=2)

    assert (error["loc"], error["msg"]) == (["body", "n"], "'chat' takes n up to 1.")


@pytest.mark.parametrize("name", ["tools", "functions"])
def test_tools_for_a_model_without(name: str):
    error = refusal(model(supports_tools=False), **{name: TOOLS})

    assert error["loc"] == ["body", name]
    assert "calls no tools" in error["msg"]


def test_schema_for_a_model_without():
    plain = model(supports_json_schema=False)

    assert refusal(plain, response_format=SCHEMA)["loc"] == ["body", "response_format"]
    limits.require_within_limits(plain, {"messages": MESSAGES, "response_format": {"type": "json_object"}})


@pytest.mark.parametrize(
    ("ability", "place", "word"), [("supports_vision", 1, "images"), ("supports_audio", 2, "audio")]
)
def test_media_for_a_text_only_model(ability: str, place: int, word: str):
    text_only = model(**{ability: False})

    error = refusal(text_only, messages=PARTS)

    assert error["loc"] == ["body", "messages", 1, "content", place]
    assert f"takes no {word}" in error["msg"]
    rest = [part for part in PARTS[1]["content"] if part is not PARTS[1]["content"][place]]
    limits.require_within_limits(text_only, {"messages": [{"role": "user", "content": rest}]})


def test_input_past_the_window():
    small = model(context_window_tokens=100)
    limits.require_within_limits(small, {"messages": [{"role": "user", "content": "x" * 600}]})

    error = refusal(small, messages=[{"role": "user", "content": "x" * 606}])

    assert error["loc"] == ["body", "messages"]
    assert error["msg"] == "The input has at least about 101 tokens, and 'chat' takes 100. Send less."


def test_input_is_all_text_of_all_messages_and_schemas():
    def tokens(**body: Any) -> int:
        return limits.least_input_tokens(body)

    text = [{"role": "user", "content": "x" * 60}]
    assert tokens(messages=text) == 10
    assert tokens(messages=text * 2) == 20
    assert tokens(messages=[{"role": "user", "content": "é" * 60}]) == 20
    assert tokens(messages=[{"role": "user", "content": [{"type": "text", "text": "x" * 60}]}]) == 10
    assert tokens(messages=[{"role": "user", "content": [IMAGE, AUDIO]}]) == 0
    assert tokens(messages=[{"role": "assistant", "content": None, "tool_calls": []}]) == 0
    assert tokens(messages=text, tools=[{"description": "x" * 600}]) > 100
    assert tokens(messages=text, response_format={"json_schema": "x" * 600}) > 100


@pytest.mark.parametrize("content", [["text"], [None], [{"type": "text", "text": 5}], [{"no": "type"}], {"a": 1}, 7])
def test_parts_of_another_form_are_left_to_the_provider(content: Any):
    strict = model(context_window_tokens=1, supports_vision=False, supports_audio=False)

    limits.require_within_limits(strict, {"messages": [{"role": "user", "content": content}]})


# --- A group -----------------------------------------------------------------------------------------------


@pytest.fixture
def group() -> ResolvedModel:
    """A text model, one that sees, one of which nothing is known."""
    text = model(alias="text", supports_vision=False)
    sees, unknown = model(alias="sees", supports_vision=True, max_output_tokens=100), model(alias="unknown")
    return replace(text, fallbacks=(sees, unknown))


def names(model: ResolvedModel) -> list[str]:
    return [candidate.alias for candidate in model.candidates]


def test_group_is_unchanged_when_all_can_answer(group: ResolvedModel):
    assert limits.able(group, {"messages": MESSAGES}) is group


def test_those_that_cannot_answer_are_left_out(group: ResolvedModel):
    assert names(limits.able(group, {"messages": PARTS})) == ["sees", "unknown"]
    assert names(limits.able(group, {"messages": PARTS, "max_tokens": 101})) == ["unknown"]
    assert names(limits.able(group, {"messages": MESSAGES, "max_tokens": 101})) == ["text", "unknown"]


def test_first_one_s_refusal_is_told_when_none_can(group: ResolvedModel):
    group = replace(group, fallbacks=(group.fallbacks[0],))

    with pytest.raises(InvalidField, match="takes no images"):
        limits.able(group, {"messages": PARTS, "max_tokens": 101})
