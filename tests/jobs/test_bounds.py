"""The most a call can use, known before it is made: never less than what it will."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.catalog.services import ResolvedModel
from apps.jobs import bounds

PRICED = ResolvedModel("m", "m", "litellm", "", "m", 1_000 * 10**9, 2_000 * 10**9, None)
USER = {"role": "user", "content": "Hello"}


def of(messages: list[dict[str, Any]] | None = None, *, model: ResolvedModel = PRICED, **more: Any) -> bounds.Bound:
    return bounds.of_call({"messages": messages or [USER], **more}, model)


@given(st.lists(st.text(max_size=200), min_size=1, max_size=5))
def test_input_bound_covers_every_byte_of_the_messages(texts: list[str]):
    messages = [{"role": "user", "content": text} for text in texts]

    assert of(messages).input_tokens >= sum(len(text.encode()) for text in texts)
    assert of(messages).input_tokens >= len(orjson.dumps(messages))


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "function", "function": {"name": "x" * 500}}]},
        {"response_format": {"type": "json_schema", "json_schema": {"x": "y" * 500}}},
    ],
)
def test_tools_and_schemas_are_input_too(more: dict[str, Any]):
    assert of(**more).input_tokens >= of().input_tokens + 500


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "input_image", "file"])
def test_media_named_by_address_costs_a_fixed_figure_each(kind: str):
    part = {"type": kind, kind: {"url": "https://example.com/a"}}
    one = of([{"role": "user", "content": [part]}])
    two = of([{"role": "user", "content": [part, part]}])

    assert two.input_tokens - one.input_tokens >= bounds.TOKENS_PER_MEDIA_PART
    assert one.input_tokens >= bounds.TOKENS_PER_MEDIA_PART


@pytest.mark.parametrize(
    ("more", "model_cap", "cap"),
    [
        ({"max_tokens": 7}, 100, 7),
        ({"max_completion_tokens": 8}, 100, 8),
        ({"max_tokens": 7, "max_completion_tokens": 8}, 100, 8),
        ({}, 100, 100),
        ({}, None, 4_096),
    ],
)
def test_output_cap_is_the_caller_s_then_the_model_s_then_the_platform_s(
    settings: Any, more: dict[str, Any], model_cap: int | None, cap: int
):
    settings.DEFAULT_MAX_OUTPUT_TOKENS = 4_096
    model = ResolvedModel("m", "m", "litellm", "", "m", None, None, model_cap)

    assert of(model=model, **more).output_cap == cap


def test_several_answers_are_bounded_each():
    assert of(max_tokens=7, n=3).output_tokens == 21


def test_prediction_is_output_beside_the_cap():
    prediction = {"type": "content", "content": "x" * 500}

    assert of(max_tokens=10, n=2, prediction=prediction).output_tokens >= 2 * (10 + 500)
    assert of(max_tokens=10, prediction=prediction).output_cap == 10


def test_bound_in_money_is_both_at_their_prices():
    bound = of(max_tokens=7)

    assert bound.nanousd == bound.input_tokens * 10**6 + bound.output_tokens * 2 * 10**6


def test_model_without_prices_has_no_bound_in_money():
    assert of(model=ResolvedModel("m", "m", "litellm", "", "m", None, None, None)).nanousd == 0


@pytest.mark.parametrize(("text_bytes", "tokens"), [(0, 1), (1, 1), (4, 1), (5, 2), (4_000, 1_000)])
def test_estimate_is_four_bytes_a_token_and_at_least_one(text_bytes: int, tokens: int):
    assert bounds.estimated_tokens(text_bytes) == tokens
