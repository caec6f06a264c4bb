"""Answers of a wanted shape: JSON, a JSON Schema, and Pydantic models that the client parses."""

import json
from enum import Enum
from typing import Literal

from pydantic import BaseModel

from tests.acceptance.openai_sdk.asking import QUESTION, ask
from tests.acceptance.openai_sdk.platform import CHAT, Customer


class Urgency(Enum):
    """How soon."""

    LOW = "low"
    HIGH = "high"


class Person(BaseModel):
    """Who asks."""

    name: str
    age: int | None = None


class Ticket(BaseModel):
    """Nested, optional, an enum, lists: what customers write."""

    subject: str
    urgency: Urgency
    kind: Literal["bug", "question"]
    reporter: Person
    watchers: list[Person]
    due: str | None
    is_open: bool = True
    score: float


def json_object_is_answered(at: Customer) -> None:
    completion = ask(at, "What is Python? Answer in JSON.", response_format={"type": "json_object"})

    assert isinstance(json.loads(completion.choices[0].message.content), dict)


def json_schema_is_answered(at: Customer) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "size": {"type": "integer", "minimum": 3}},
        "required": ["city", "size"],
        "additionalProperties": False,
    }
    shape = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": True}}
    answer = json.loads(ask(at, response_format=shape).choices[0].message.content)

    assert set(answer) == {"city", "size"}
    assert answer["size"] >= 3


def answer_is_parsed_into_a_pydantic_model(at: Customer) -> None:
    for completions in (at.client.chat.completions, at.client.beta.chat.completions):
        completion = completions.parse(model=CHAT, messages=QUESTION, response_format=Ticket)

        parsed = completion.choices[0].message.parsed
        assert isinstance(parsed, Ticket)
        assert isinstance(parsed.reporter, Person)
        assert parsed.urgency in Urgency
    assert at.left() == 8


def streamed_answer_is_parsed_into_a_pydantic_model(at: Customer) -> None:
    with at.client.chat.completions.stream(model=CHAT, messages=QUESTION, response_format=Ticket) as stream:
        events = list(stream)
        completion = stream.get_final_completion()

    (done,) = [event for event in events if event.type == "content.done"]
    assert isinstance(done.parsed, Ticket)
    assert completion.choices[0].message.parsed == done.parsed


CHECKS = (
    json_object_is_answered,
    json_schema_is_answered,
    answer_is_parsed_into_a_pydantic_model,
    streamed_answer_is_parsed_into_a_pydantic_model,
)
