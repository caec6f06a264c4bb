"""Answers that must fit their format, and schemas that are none."""

from typing import Any

import orjson
import pytest
from pydantic import BaseModel

from apps.core.errors import InvalidField
from apps.jobs import validity
from apps.jobs.models import Attempt, Call, Job
from tests import make
from tests.jobs import steps


class City(BaseModel):
    name: str
    inhabitants: int


def wanted(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


FORMAT = wanted(City.model_json_schema())


def answer(text: str) -> str:
    return orjson.dumps({"choices": [{"index": 0, "message": {"content": text}}]}).decode()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"name": "Rome", "inhabitants": 3}', ""),
        ('{"name": "Rome", "inhabitants": "many"}', "inhabitants does not fit 'type'"),
        ('{"name": "Rome"}', "the whole answer does not fit 'required'"),
        ("Rome", "it is no JSON"),
        ("", "it is no JSON"),
        ("[]", "the whole answer does not fit 'type'"),
    ],
)
def test_answer_is_held_against_its_schema(text: str, problem: str):
    assert validity.problem(answer(text), FORMAT) == problem


def test_answer_s_own_text_is_not_in_what_is_said():
    assert "secret" not in validity.problem(answer('{"name": "secret", "inhabitants": "secret"}'), FORMAT)


def test_json_object_is_one_of_any_shape():
    assert validity.problem(answer('{"a": 1}'), {"type": "json_object"}) == ""
    assert validity.problem(answer("[1]"), {"type": "json_object"}) == "it is no JSON object"


def test_tool_call_is_no_answer_yet():
    response = orjson.dumps({"choices": [{"message": {"content": "", "tool_calls": [{"id": "1"}]}}]}).decode()

    assert validity.problem(response, FORMAT) == ""


def test_schema_that_refers_elsewhere_is_not_fetched():
    elsewhere = wanted({"$ref": "https://example.com/schema.json"})

    assert validity.problem(answer('{"a": 1}'), elsewhere) == ""


@pytest.mark.parametrize(
    "body",
    [
        {"response_format": wanted({"type": "nonsense"})},
        {"response_format": wanted([])},
        {"response_format": wanted({"properties": {"a": {"type": 5}}})},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "objekt"}}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": "none"}}]},
    ],
    ids=["type", "list", "deep", "tool", "tool's text"],
)
def test_schema_that_is_none_is_refused_before_anything_is_held(acme: make.Customer, body: dict[str, Any]):
    job = steps.open_job(acme)

    with pytest.raises(InvalidField) as refused:
        steps.ask(acme, job, parameters=body)

    assert "JSON schema" in str(refused.value)
    assert (Call.objects.count(), steps.money(acme)) == (0, (100, 0))


def test_pydantic_s_schemas_and_openai_s_tools_are_taken(acme: make.Customer):
    tool = {"type": "function", "function": {"name": "f", "parameters": City.model_json_schema()}}
    bare = {"type": "function", "function": {"name": "g"}}

    assert steps.ask(acme, steps.open_job(acme), parameters={"tools": [tool, bare], "response_format": FORMAT}).is_new


def asked(customer: make.Customer, monkeypatch: pytest.MonkeyPatch, *texts: str) -> tuple[Call, steps.Route]:
    """A validated call that is answered with these texts in turn, each costing three dollars a million tokens."""
    make.alias("priced", input_usd_per_mtok=3, output_usd_per_mtok=3, is_open=True)
    left = list(texts)
    route = steps.take_route(monkeypatch, lambda _: steps.answer(left.pop(0), prompt=1_000, completion=0))
    job = steps.open_job(customer)
    submitted = steps.ask(customer, job, model="priced", parameters={"response_format": FORMAT}, validates=True)
    steps.run(submitted)
    steps.complete(customer, job)
    return steps.call_of(submitted), route


GOOD, BAD = '{"name": "Rome", "inhabitants": 3}', '{"name": "Rome"}'


def test_answer_that_fits_is_given_at_once(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    call, route = asked(acme, monkeypatch, GOOD)

    assert (call.state, len(route.requests)) == ("succeeded", 1)


def test_unfit_answer_is_asked_for_again_and_the_customer_pays_once(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    call, route = asked(acme, monkeypatch, BAD, GOOD)

    job = Job.objects.get()
    assert (call.state, len(route.requests)) == ("succeeded", 2)
    assert list(Attempt.objects.order_by("started_at", "id").values_list("state", "error_code", "cost_nanousd")) == [
        ("failed", "answer_unfit", 3_000_000),
        ("succeeded", "", 3_000_000),
    ]
    # What the unfit answer cost is the platform's, and seen.
    assert (job.provider_cost_nanousd, job.lost_cost_nanousd) == (3_000_000, 3_000_000)
    assert steps.money(acme) == (99, 0)


def test_call_fails_when_no_answer_fits(acme: make.Customer, monkeypatch: pytest.MonkeyPatch, settings: Any):
    settings.VALIDATION_RETRIES = 2

    call, route = asked(acme, monkeypatch, BAD, BAD, BAD)

    assert (call.state, call.error_code, call.error_status, len(route.requests)) == ("failed", "answer_unfit", 500, 3)
    assert "does not fit 'required'" in call.error_message
    assert steps.money(acme) == (100, 0)
    assert Job.objects.get().lost_cost_nanousd == 9_000_000


def test_unfit_answer_is_given_as_it_is_when_nobody_asked_for_validation(
    acme: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    steps.take_route(monkeypatch, lambda _: steps.answer(BAD))
    submitted = steps.ask(acme, steps.open_job(acme), parameters={"response_format": FORMAT})

    steps.run(submitted)

    assert steps.call_of(submitted).state == "succeeded"


@pytest.mark.parametrize(
    "more",
    [{"parameters": {}}, {"parameters": {"response_format": FORMAT}, "is_streamed": True}],
    ids=["no format", "stream"],
)
def test_validation_of_what_cannot_be_is_refused(acme: make.Customer, more: dict[str, Any]):
    with pytest.raises(InvalidField, match="validate"):
        steps.ask(acme, steps.open_job(acme), validates=True, **more)
