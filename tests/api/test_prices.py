"""Dated prices over HTTP: /api/prices, and /api/pricing for those in force."""

from datetime import timedelta

import pytest

from apps.catalog import prices
from apps.catalog.models import Price
from apps.catalog.rates import Rates
from apps.core import clock
from apps.core.models import AuditEntry
from tests import make
from tests.api.calling import located

GPT = {"model": "OpenAI/GPT-9", "input": 0.15, "output": "0.6"}
AHEAD = "2999-01-01T00:00:00Z"
FIELDS = {
    "price_id", "model", "currency", "input", "cached_input", "cache_write", "cache_write_1h", "audio_input",
    "image_input", "output", "reasoning", "audio_output", "image_output", "per_request", "per_image", "valid_from",
    "in_force", "scheduled", "source", "created_by", "created_at",
}  # fmt: skip


def add(operator, **more):
    return operator.post("/api/prices", GPT | more)


def test_added_price_in_full(operator):
    answer = add(operator, cached_input=0, reasoning="1.000000001", per_request=0.005, source="the provider's page")

    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == FIELDS
    assert (body["model"], body["currency"], body["source"]) == ("openai/gpt-9", "USD", "the provider's page")
    assert (body["input"], body["output"], body["cached_input"], body["cache_write"]) == (0.15, 0.6, 0, None)
    assert (body["in_force"], body["scheduled"], body["created_by"]) == (True, False, "operator:master-key")
    assert Price.objects.get().rates == Rates(
        150_000_000, 600_000_000, cached_input=0, reasoning=1_000_000_001, per_request=5_000_000
    )
    assert AuditEntry.objects.get(action="price.add").actor == "operator:master-key"


def test_scheduled_price_is_not_in_force(operator):
    add(operator)
    body = add(operator, input=9, valid_from=AHEAD).json()

    assert (body["in_force"], body["scheduled"], body["valid_from"]) == (False, True, "2999-01-01T00:00:00.000Z")
    assert [each["input"] for each in operator.get("/api/prices").json()] == [9, 0.15]
    assert [each["input"] for each in operator.get("/api/pricing").json()] == [0.15]
    assert [each["input"] for each in operator.get("/api/prices", at=AHEAD).json()] == [9]
    assert [each["input"] for each in operator.get("/api/prices", at="2999-01-01T01:00:00+01:00").json()] == [9]


def test_same_price_again_is_the_one_there_is(operator):
    assert add(operator).json() == add(operator).json()
    assert Price.objects.count() == 1


def test_lists_are_narrowed_and_paged(operator):
    for model in ("a", "b", "c"):
        prices.add(model, Rates(1, 1), actor=make.TESTER)

    def models(path: str, **query) -> list[str]:
        return [each["model"] for each in operator.get(path, **query).json()]

    for path in ("/api/prices", "/api/pricing"):
        assert models(path) == ["a", "b", "c"]
        assert models(path, model="B") == ["b"]
        assert models(path, limit=1, offset=2) == ["c"]
    before = clock.iso(clock.db_now() - timedelta(days=1))
    assert models("/api/prices", at=before) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""),
        ("model", "x" * 256),
        ("model", "modèle"),
        ("input", None),
        ("input", -1),
        ("input", "cheap"),
        ("input", "NaN"),
        ("input", "1e99"),
        ("input", True),
        ("output", 1_000_000),
        ("output", "0.0000000001"),
        ("reasoning", -1),
        ("per_image", "Infinity"),
        ("valid_from", "2020-01-01T00:00:00Z"),
        ("valid_from", "2999-01-01T00:00:00"),
        ("valid_from", "soon"),
        ("valid_from", "9999-12-31T23:59:59-23:00"),
        ("source", "x" * 256),
        ("source", 1),
    ],
)
def test_field_that_is_wrong(operator, field, value):
    assert located(add(operator, **{field: value})) == [["body", field]]
    assert not Price.objects.exists()


@pytest.mark.parametrize("at", ["", "soon", "2999-13-01", "0001-01-01T00:00:00+23:00"])
def test_instant_that_is_none(operator, at):
    answer = operator.get("/api/prices", at=at)

    assert answer.status_code == 422
    assert located(answer) == [["query", "at"]]
