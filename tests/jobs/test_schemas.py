"""Schemas of Pydantic's as providers take them with `strict`."""

from copy import deepcopy
from typing import Any

import pytest
from pydantic import BaseModel, Field

from apps.jobs.gateway.schemas import normalised
from tests import make
from tests.jobs import steps


class Street(BaseModel):
    name: str
    number: int | None = None


class Person(BaseModel):
    name: str = Field(description="in full")
    nicknames: list[str] = []
    home: Street | None = Field(default=None, description="where they live")
    work: Street


class Anything(BaseModel):
    values: dict[str, int]


def wanted(schema: Any, *, strict: bool = True) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": strict}}


def objects_of(schema: Any) -> list[dict[str, Any]]:
    """Every object in a schema."""
    found = []
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            found.append(schema)
        for value in schema.values():
            found += objects_of(value)
    elif isinstance(schema, list):
        for value in schema:
            found += objects_of(value)
    return found


def test_every_object_is_closed_and_all_its_properties_are_required():
    schema = normalised(wanted(Person.model_json_schema()))["json_schema"]["schema"]

    objects = objects_of(schema)
    assert len(objects) == 2
    for each in objects:
        assert each["additionalProperties"] is False
        assert set(each["required"]) == set(each["properties"])
    assert "default" not in str(schema)
    assert schema["properties"]["name"]["description"] == "in full"
    assert schema["properties"]["work"] == {"$ref": "#/$defs/Street"}


def test_what_is_given_is_not_changed():
    given = wanted(Person.model_json_schema())
    before = deepcopy(given)

    normalised(given)

    assert given == before


@pytest.mark.parametrize(
    "schema",
    [Anything.model_json_schema(), {"type": "object"}, {"type": "array", "items": True}],
    ids=["any keys", "no properties", "any items"],
)
def test_schema_that_cannot_be_strict_is_asked_for_without(schema: Any):
    found = normalised(wanted(schema))

    assert found["json_schema"]["strict"] is False
    assert found["json_schema"]["schema"] == schema


@pytest.mark.parametrize(
    "given",
    [
        None,
        {"type": "json_object"},
        {"type": "text"},
        wanted({"type": "object"}, strict=False),
        {"type": "json_schema"},
    ],
    ids=["none", "object", "text", "not strict", "malformed"],
)
def test_anything_else_is_passed_on_as_it_is(given: Any):
    assert normalised(given) == given


def test_call_is_made_with_the_normalised_schema(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    route = steps.take_route(monkeypatch, lambda _: steps.answer("{}"))
    response_format = wanted(Person.model_json_schema())

    steps.run(steps.ask(acme, steps.open_job(acme), parameters={"response_format": response_format}))

    assert route.requests[0].body["response_format"] == normalised(response_format)
