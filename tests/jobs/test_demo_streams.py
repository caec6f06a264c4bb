"""The demo provider's streams, tools, shapes, vectors and faults."""

import json
import time
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, conint

from apps.jobs.gateway.demo import DemoProvider, count_tokens
from apps.jobs.gateway.interface import (
    Chunk,
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    GatewayError,
    Usage,
)

LOOKUP = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
            "required": ["city", "days"],
        },
    },
}
OTHER = {"type": "function", "function": {"name": "send_mail"}}


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the provider wanted to wait, without the wait."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


def request(question: str = "What is Python?", *, model: str = "demo-chat", **parameters: Any) -> CompletionRequest:
    messages = parameters.pop("messages", [{"role": "user", "content": question}])
    return CompletionRequest("call", "attempt", "acme", model, {"messages": messages, **parameters})


def ask(question: str = "What is Python?", **parameters: Any) -> Completion:
    return DemoProvider().complete(request(question, **parameters), timeout_s=9)


def stream(question: str = "What is Python?", **parameters: Any) -> list[Chunk]:
    return list(DemoProvider().stream(request(question, **parameters), timeout_s=9))


def text(chunks: list[Chunk]) -> str:
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk.choices)


def arguments(completion: Completion) -> list[tuple[str, Any]]:
    calls = completion.choices[0]["message"].get("tool_calls") or []
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


@pytest.mark.parametrize("question", ["What is Python?", "Extract key points:\n\nFirst. Second.", "  two  spaces "])
@pytest.mark.parametrize("cap", [None, 4])
def test_stream_says_word_by_word_what_the_whole_answer_says(question: str, cap: int | None):
    whole, chunks = ask(question, max_tokens=cap), stream(question, max_tokens=cap)

    assert text(chunks) == whole.choices[0]["message"]["content"]
    assert len(chunks) > 3
    assert chunks[0].choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-2].choices[0] == {
        "index": 0,
        "delta": {},
        "finish_reason": whole.choices[0]["finish_reason"],
    }
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)


def test_several_answers_are_streamed_each():
    chunks = stream(n=2)

    assert [c["index"] for chunk in chunks for c in chunk.choices if c["finish_reason"]] == [0, 1]


@pytest.mark.parametrize(
    ("choice", "question", "called"),
    [
        ("auto", "Use get_weather, please", ["get_weather"]),
        (None, "Get weather and send mail", ["get_weather", "send_mail"]),
        (None, "What is Python?", []),
        ("none", "Use get_weather, please", []),
        ("required", "What is Python?", ["get_weather"]),
        ("required", "Now send_mail", ["send_mail"]),
        ({"type": "function", "function": {"name": "send_mail"}}, "What is Python?", ["send_mail"]),
        ({"type": "function", "function": {"name": "unknown"}}, "What is Python?", []),
    ],
)
def test_tools_are_called_when_they_are_asked_for(choice: Any, question: str, called: list[str]):
    completion = ask(question, tools=[LOOKUP, OTHER], tool_choice=choice)

    assert [name for name, _ in arguments(completion)] == called
    assert completion.choices[0]["finish_reason"] == ("tool_calls" if called else "stop")


def test_arguments_of_a_call_validate():
    completion = ask("get_weather", tools=[LOOKUP])

    assert arguments(completion) == [("get_weather", {"city": "demo city", "days": 3})]
    assert completion.choices[0]["message"]["content"] == ""
    assert completion.usage is not None
    assert completion.usage.completion_tokens == count_tokens("get_weather") + count_tokens(
        '{"city":"demo city","days":3}'
    )


def test_tools_are_counted_as_read():
    assert ask(tools=[LOOKUP]).usage.prompt_tokens > ask().usage.prompt_tokens  # type: ignore[union-attr]


def test_call_is_streamed_in_fragments():
    chunks = stream("get_weather", tools=[LOOKUP])

    calls = [c["delta"]["tool_calls"][0] for chunk in chunks for c in chunk.choices if "tool_calls" in c["delta"]]
    whole = ask("get_weather", tools=[LOOKUP]).choices[0]["message"]["tool_calls"][0]
    assert calls[0]["id"] == whole["id"]
    assert "".join(call["function"]["arguments"] for call in calls) == whole["function"]["arguments"]


def test_result_of_a_tool_is_answered_and_not_asked_for_again():
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "get_weather"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "22 degrees"},
    ]
    completion = ask(messages=messages, tools=[LOOKUP], tool_choice="required")

    assert "22 degrees" in completion.choices[0]["message"]["content"]
    assert completion.choices[0]["finish_reason"] == "stop"


def test_cap_cuts_arguments_too():
    completion = ask("get_weather", tools=[LOOKUP], max_tokens=3)

    assert completion.choices[0]["finish_reason"] == "length"
    assert completion.usage == Usage(completion.usage.prompt_tokens, 3)  # type: ignore[union-attr]
    assert completion.choices[0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"'


def test_json_object_is_one():
    answer = json.loads(ask(response_format={"type": "json_object"}).choices[0]["message"]["content"])

    assert answer["answer"].startswith("Python is")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    label: str = Field(min_length=30, max_length=40)
    code: str = Field(max_length=2)
    weight: float = Field(gt=0, lt=0.5)
    count: int = Field(ge=10, le=12, multiple_of=3)


class Tree(BaseModel):
    name: str
    children: list["Tree"]
    parent: "Tree | None"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: conint(gt=0)  # type: ignore[valid-type]


class Dog(BaseModel):
    kind: Literal["dog"]


class Everything(BaseModel):
    text: str
    maybe: int | None
    colour: Colour
    word: Literal["yes", "no"]
    parts: Annotated[list[Part], Field(min_length=3, max_length=5)]
    few: set[int] = Field(min_length=3)
    pair: tuple[int, str]
    by_name: dict[str, Part]
    pet: Cat | Dog = Field(discriminator="kind")
    when: datetime
    day: date
    lasting: timedelta
    id: UUID
    ids: list[UUID] = Field(min_length=2)
    link: AnyUrl
    host: IPv4Address
    price: Decimal
    negative: float = Field(le=-5)
    bounded: int = Field(gt=7, lt=9)
    zip: str = Field(pattern=r"^\d{5}$")
    is_true: bool
    anything: Any
    nothing: None
    nested: dict[str, list[dict[str, int]]]
    with_default: int = 3


class Sum(BaseModel):
    left: "Sum | int"
    right: "int | Sum"


@pytest.mark.parametrize("model", [Part, Tree, Everything, Sum])
@pytest.mark.parametrize("dressed", [lambda schema: schema, lambda schema: schema | {"additionalProperties": False}])
def test_answer_validates_against_the_schema_asked_for(model: type[BaseModel], dressed: Any):
    schema = dressed(model.model_json_schema())
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    completion = ask(response_format=wanted)

    assert model.model_validate_json(completion.choices[0]["message"]["content"])
    assert text(stream(response_format=wanted)) == completion.choices[0]["message"]["content"]


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "array", "minItems": 10**9},
        {"type": "string", "minLength": 10**9},
        {"type": "string", "pattern": "^only this$"},
        {"type": "string", "pattern": "("},
        {"type": "string", "minLength": "many"},
        {"type": "integer", "minimum": 10**30},
        {"enum": 5},
        {"properties": [1]},
        {
            "$defs": {f"d{n}": {"type": "object", "required": ["a", "b"], "properties": {
                key: {"$ref": f"#/$defs/d{n + 1}"} for key in "ab"}} for n in range(30)},
            "$ref": "#/$defs/d0",
        },
    ],
    ids=lambda schema: str(schema)[:50],
)  # fmt: skip
def test_schema_that_cannot_be_answered_is_rejected(schema: Any):
    with pytest.raises(GatewayError) as caught:
        ask(response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    assert caught.value.code == "provider_rejected"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("demo-error-400", ("provider_rejected", 400)),
        ("demo-error-429", ("provider_rate_limited", 429)),
        ("demo-error-500", ("provider_error", 500)),
        ("openai/demo-error-503", ("provider_unavailable", 503)),
        ("demo-error-418", ("provider_configuration", 503)),
        ("demo-slow-down", ("provider_configuration", 503)),
        ("demo-timeout", ("provider_timeout", 503)),
        ("demo-slow-10000", ("provider_timeout", 503)),
        ("demo-cut", ("provider_unavailable", 503)),
    ],
)
def test_name_of_the_model_asks_for_its_failure(slept: list[float], model: str, expected: tuple[str, int]):
    embedding = EmbeddingRequest("c", "a", "t", model, ["x"])
    for answer in (
        lambda: ask(model=model),
        lambda: stream(model=model),
        lambda: DemoProvider().embed(embedding, timeout_s=9),
    ):
        with pytest.raises(GatewayError) as caught:
            answer()
        assert (caught.value.code, caught.value.status) == expected


@pytest.mark.parametrize(("model", "waited"), [("demo-slow", [2.0]), ("demo-slow-250", [0.25]), ("demo-chat", [])])
def test_name_of_the_model_asks_for_its_latency(slept: list[float], model: str, waited: list[float]):
    assert ask(model=model).choices == ask().choices
    assert slept == waited


def test_wait_ends_at_the_deadline(slept: list[float]):
    with pytest.raises(GatewayError):
        DemoProvider().complete(request(model="demo-slow"), timeout_s=0.5)
    assert slept == [0.5]


def test_cut_stream_breaks_off_after_a_beginning():
    chunks = DemoProvider().stream(request(model="demo-cut"), timeout_s=9)
    said: list[Chunk] = []
    with pytest.raises(GatewayError):
        said.extend(chunks)

    assert ask().choices[0]["message"]["content"].startswith(text(said))
    assert text(said)
    assert not any(choice["finish_reason"] for chunk in said for choice in chunk.choices)


def vectors(*texts: Any, **options: Any) -> list[list[float]]:
    embedded = DemoProvider().embed(EmbeddingRequest("c", "a", "t", "demo-embed", list(texts), options), timeout_s=9)
    return embedded.vectors


def test_vectors_are_stable_of_length_one_and_differ():
    one, two, again = vectors("one", "two", "one")

    assert one == again != two
    assert vectors("one") == [one]
    assert len(one) == 256
    assert sum(value * value for value in one) == pytest.approx(1)


@pytest.mark.parametrize("dimensions", [1, 3, 1536])
def test_vectors_have_the_dimensions_asked_for(dimensions: int):
    (vector,) = vectors("one", dimensions=dimensions)

    assert len(vector) == dimensions
    assert sum(value * value for value in vector) == pytest.approx(1)


@pytest.mark.parametrize("dimensions", [-1, 5000, 1.5, "3"])
def test_dimensions_beyond_reason_are_rejected(dimensions: Any):
    with pytest.raises(GatewayError) as caught:
        vectors("one", dimensions=dimensions)
    assert caught.value.code == "provider_rejected"


def test_embedded_tokens_are_counted():
    embedded = DemoProvider().embed(EmbeddingRequest("c", "a", "t", "m", ["two words", [7, 8, 9]]), timeout_s=9)

    assert embedded.usage == Usage(5, 0)
    assert len(embedded.vectors) == 2
