"""B9, token arithmetic that matches the invoice: usage as providers send it, its classes, and what it costs.

The cases are tests/jobs/usage_vectors.json, in words that anybody can check against a bill.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.catalog.rates import CLASSES, INPUT_CLASSES, OUTPUT_CLASSES, Rates
from apps.jobs.gateway.interface import Usage
from apps.jobs.gateway.usage import read_usage

VECTORS = json.loads((Path(__file__).parent / "usage_vectors.json").read_text())
every_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda each: f"{each['provider']}: {each['name']}")


def read(vector: dict[str, Any]) -> Usage:
    is_embedding = vector["kind"] == "embedding"
    raw = ({"completion_tokens": 0} if is_embedding else {}) | vector["usage"]
    usage = read_usage(raw, has_output=not is_embedding)
    assert usage is not None
    return usage


def classes_of(usage: Usage) -> dict[str, int]:
    plain = {"input": usage.prompt_tokens, "output": usage.completion_tokens}
    return usage.classes or {name: count for name, count in plain.items() if count}


def rates_of(vector: dict[str, Any]) -> Rates:
    return Rates(**{name: int(Decimal(usd) * 10**9) for name, usd in vector["usd_per_mtok"].items()})


@every_vector
def test_b9_usage_is_read_as_its_provider_means_it(vector: dict[str, Any]):
    usage, expected = read(vector), vector["expected"]

    assert classes_of(usage) == expected["classes"]
    assert (usage.prompt_tokens, usage.completion_tokens) == (
        expected["prompt_tokens"],
        expected["completion_tokens"],
    )
    assert usage.has_mismatch is expected["mismatch"]


@every_vector
def test_b9_classes_cost_what_the_invoice_says(vector: dict[str, Any]):
    assert rates_of(vector).cost_nanousd(classes_of(read(vector))) == vector["expected"]["cost_nanousd"]


def test_b9_every_provider_and_every_class_has_a_vector():
    assert {each["provider"] for each in VECTORS} >= {"openai", "anthropic", "gemini", "xai", "deepseek"}
    assert {name for each in VECTORS for name in each["expected"]["classes"]} == set(CLASSES)


counts = st.none() | st.integers(min_value=0, max_value=5_000)


@given(
    prompt=st.integers(min_value=0, max_value=5_000),
    completion=st.integers(min_value=0, max_value=5_000),
    total=counts,
    input_details=st.dictionaries(
        st.sampled_from(["cached_tokens", "audio_tokens", "image_tokens", "cache_creation_tokens"]), counts
    ),
    output_details=st.dictionaries(st.sampled_from(["reasoning_tokens", "audio_tokens", "image_tokens"]), counts),
    top=st.dictionaries(
        st.sampled_from(["cache_read_input_tokens", "cache_creation_input_tokens", "prompt_cache_hit_tokens"]), counts
    ),
)
def test_b9_classes_add_up_to_the_total_or_the_usage_is_flagged(
    prompt: int, completion: int, total: int | None, input_details: Any, output_details: Any, top: Any
):
    raw = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": input_details,
        "completion_tokens_details": output_details,
        **top,
    }
    usage = read_usage(raw)

    assert usage is not None
    classes = classes_of(usage)
    assert all(count > 0 for count in classes.values())
    assert sum(classes.get(name, 0) for name in INPUT_CLASSES) == usage.prompt_tokens
    assert sum(classes.get(name, 0) for name in OUTPUT_CLASSES) == usage.completion_tokens
    # Never less than the provider's total says, and never less than it says of each side.
    assert usage.prompt_tokens + usage.completion_tokens >= max(total or 0, prompt + completion)
    if not usage.has_mismatch:
        assert not total or sum(classes.values()) == total


def test_class_without_a_rate_costs_as_its_parent():
    rates = Rates(input=2, output=5, cache_write=3)

    assert {name: rates.of(name) for name in CLASSES} == {
        "input": 2,
        "cached_input": 2,
        "cache_write": 3,
        "cache_write_1h": 3,
        "audio_input": 2,
        "image_input": 2,
        "output": 5,
        "reasoning": 5,
        "audio_output": 5,
        "image_output": 5,
    }


def test_free_class_is_free_and_not_as_its_parent():
    assert Rates(input=2, output=5, cached_input=0).of("cached_input") == 0


def test_rates_that_are_set_are_named():
    assert Rates(0, 5, cached_input=0, per_image=7).given() == {
        "input": 0, "output": 5, "cached_input": 0, "per_image": 7,
    }  # fmt: skip
