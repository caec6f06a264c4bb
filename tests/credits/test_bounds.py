"""The most a call can use: what a metered job's hold rests on, so it may be too much and never too little."""

import orjson
import pytest

from apps.catalog.services import ResolvedModel
from apps.core.money import NANOUSD
from apps.jobs import bounds

MODEL = ResolvedModel("chat", "chat", "demo", "", "provider/chat", 3 * NANOUSD, 15 * NANOUSD, 500)
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


def bound(model: ResolvedModel = MODEL, **more) -> bounds.Bound:
    return bounds.of_call({**HELLO, **more}, model)


def test_every_byte_of_the_request_may_be_a_token():
    size = len(orjson.dumps(HELLO["messages"]))

    assert bound().input_tokens == size + bounds.TOKENS_PER_MESSAGE


def test_text_of_many_bytes_a_character_counts_its_bytes():
    latin = bound(messages=[{"role": "user", "content": "a" * 100}]).input_tokens

    assert bound(messages=[{"role": "user", "content": "語" * 100}]).input_tokens == latin + 200


@pytest.mark.parametrize("name", ["tools", "response_format", "functions"])
def test_schemas_count_too(name):
    schema = {"name": "x" * 1000}

    assert bound(**{name: schema}).input_tokens > bound().input_tokens + 1000


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file"])
def test_media_part_counts_more_than_its_address(kind):
    part = {"type": kind, kind: {"url": "https://example.com/a.png"}}
    parts = bound(messages=[{"role": "user", "content": [part, part]}]).input_tokens

    assert parts > 2 * bounds.TOKENS_PER_MEDIA_PART


@pytest.mark.parametrize(
    ("caps", "expected"),
    [
        ({}, 500),
        ({"max_tokens": 20}, 20),
        ({"max_completion_tokens": 30}, 30),
        ({"max_tokens": 20, "max_completion_tokens": 3000}, 3000),
        ({"max_tokens": 3000, "max_completion_tokens": 20}, 3000),
    ],
)
def test_output_is_bounded_by_the_largest_cap_that_the_provider_might_obey(caps, expected):
    assert bound(**caps).output_tokens == expected


def test_without_any_cap_the_setting_bounds_the_output(settings):
    settings.DEFAULT_MAX_OUTPUT_TOKENS = 77
    uncapped = ResolvedModel("chat", "chat", "demo", "", "provider/chat", None, None, None)

    assert bound(uncapped).output_tokens == 77


def test_several_answers_multiply_the_output_and_not_the_cap():
    several = bound(max_tokens=20, n=3)

    assert (several.output_tokens, several.output_cap) == (60, 20)


def test_cost_is_that_of_all_tokens_at_the_models_prices():
    found = bound(max_tokens=1000)

    assert found.nanousd == found.input_tokens * 3000 + 1000 * 15_000


def test_model_without_prices_has_no_cost():
    unpriced = ResolvedModel("chat", "chat", "demo", "", "provider/chat", None, None, None)

    assert bound(unpriced).nanousd == 0
