"""LiteLLM's price map: read exactly, compared with what is in force, and imported once."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from apps.catalog import price_map, prices
from apps.catalog.errors import InvalidPriceMap
from apps.catalog.price_models import Price
from apps.catalog.rates import Rates
from tests import make

# As the file is published, with what the platform does not call.
MAP = """{
  "sample_spec": {"input_cost_per_token": 0.0, "mode": "one of: chat, embedding"},
  "GPT-9": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.5e-07,
            "output_cost_per_token": 6e-07, "cache_read_input_token_cost": 7.5e-08,
            "input_cost_per_token_batches": 1e-08, "supports_vision": true},
  "claude-9": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 0.000003,
               "output_cost_per_token": 0.000015, "cache_creation_input_token_cost": 0.00000375,
               "cache_creation_input_token_cost_above_1hr": 0.000006, "cache_read_input_token_cost": 3e-7,
               "input_cost_per_token_above_200k_tokens": 0.000006},
  "gemini/gemini-9": {"litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": 3e-07,
                      "output_cost_per_token": 2.5e-06, "output_cost_per_reasoning_token": 3.5e-06,
                      "input_cost_per_audio_token": 1e-06, "output_cost_per_audio_token": 2e-06,
                      "input_cost_per_image_token": 3.1e-07, "output_cost_per_image_token": 3e-05},
  "noisy": {"mode": "chat", "input_cost_per_token": 0.000015000020000000002, "output_cost_per_token": 1e-15},
  "free": {"mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0.0},
  "online": {"mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0, "input_cost_per_request": 0.005},
  "embedder": {"mode": "embedding", "input_cost_per_token": 2e-08},
  "painter": {"mode": "image_generation", "output_cost_per_image": 0.04},
  "by-second": {"mode": "chat", "input_cost_per_token": 0, "output_cost_per_token": 0, "output_cost_per_second": 0.1},
  "half": {"mode": "chat", "input_cost_per_token": 1e-06},
  "negative": {"mode": "chat", "input_cost_per_token": -1e-06, "output_cost_per_token": 1e-06},
  "absurd": {"mode": "chat", "input_cost_per_token": 1e99, "output_cost_per_token": 1e-06},
  "words": {"mode": "chat", "input_cost_per_token": "cheap", "output_cost_per_token": 1e-06},
  "nothing": {"mode": "chat", "input_cost_per_token": NaN, "output_cost_per_token": 1e-06}
}"""
AHEAD = datetime(2999, 1, 1, tzinfo=UTC)


def rates(model: str) -> Rates:
    entry = price_map.read(MAP).find(model)
    assert entry is not None
    return entry.rates


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-9", Rates(150_000_000, 600_000_000, cached_input=75_000_000)),
        (
            "claude-9",
            Rates(
                3 * 10**9,
                15 * 10**9,
                cached_input=300_000_000,
                cache_write=3_750_000_000,
                cache_write_1h=6_000_000_000,
            ),
        ),
        (
            "gemini/gemini-9",
            Rates(
                300_000_000,
                2_500_000_000,
                reasoning=3_500_000_000,
                audio_input=10**9,
                audio_output=2 * 10**9,
                image_input=310_000_000,
                image_output=30 * 10**9,
            ),
        ),
        ("noisy", Rates(15_000_020_000, 1)),
        ("free", Rates(0, 0)),
        ("online", Rates(0, 0, per_request=5_000_000)),
        ("embedder", Rates(20_000_000, 0)),
    ],
)
def test_prices_are_read_exactly(model: str, expected: Rates):
    assert rates(model) == expected


@pytest.mark.parametrize(
    ("model", "is_found"),
    [
        ("GPT-9", True),
        ("openai/gpt-9", True),
        ("OpenAI/GPT-9", True),
        ("gemini/gemini-9", True),
        ("azure/gpt-9", False),
        ("gemini-9", False),
        ("gpt-9-mini", False),
        ("gpt", False),
    ],
)
def test_model_is_found_by_its_whole_name_or_behind_its_own_provider(model: str, is_found: bool):
    assert (price_map.read(MAP).find(model) is not None) is is_found


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("by-second", "not priced by token"),
        ("half", "no price per output token"),
        ("negative", "negative"),
        ("absurd", "absurd"),
        ("words", "no number"),
        ("nothing", "no number"),
        ("painter", "not in the map"),
        ("sample_spec", "not in the map"),
        ("unknown", "not in the map"),
    ],
)
def test_model_that_cannot_be_priced_says_why(model: str, why: str):
    found = price_map.read(MAP)

    assert found.find(model) is None
    assert why in found.why_not(model)


def test_long_inputs_that_cost_more_are_told():
    found = price_map.read(MAP)

    assert [name for name, entry in found.entries.items() if entry.has_tiers] == ["claude-9"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"a": 1}', "[" * 100_000])
def test_what_is_no_price_map_is_refused(text: str):
    with pytest.raises(InvalidPriceMap):
        price_map.read(text)


def test_diff_tells_new_changed_unchanged_and_missing(db: None):
    prices.add("embedder", Rates(20_000_000, 0), actor=make.TESTER)
    old = prices.add("openai/gpt-9", Rates(10**9, 600_000_000), actor=make.TESTER)

    diff = price_map.compare(price_map.read(MAP), ["OpenAI/GPT-9", "claude-9", "embedder", "unknown"])

    assert [(change.model, change.before) for change in diff.changes] == [("openai/gpt-9", old), ("claude-9", None)]
    assert (diff.unchanged, diff.missing) == (1, {"unknown": "not in the map"})
    assert prices.changes(old.rates, diff.changes[0].rates) == {
        "input": (10**9, 150_000_000),
        "cached_input": (None, 75_000_000),
    }


@pytest.mark.parametrize("valid_from", [None, AHEAD])
def test_same_map_twice_adds_nothing(db: None, valid_from: datetime | None):
    def imported() -> int:
        found = price_map.read(MAP)
        diff = price_map.compare(found, sorted(found.entries), valid_from=valid_from)
        return price_map.apply(diff, actor=make.TESTER, source="map.json", valid_from=valid_from)

    assert imported() == 7
    assert imported() == 0
    assert Price.objects.count() == 7
    assert {*Price.objects.values_list("source", flat=True)} == {"map.json"}


def test_exactness_does_not_rest_on_floats():
    spelled = json.loads(MAP, parse_constant=lambda _: 0)
    many: dict[str, Any] = {"m": {**spelled["GPT-9"], "input_cost_per_token": 0.1 + 0.2}}
    text = json.dumps(many).replace("0.30000000000000004", "0.123456789123456")

    entry = price_map.read(text).find("m")

    assert entry is not None
    assert entry.rates.input == 123_456_789_123_456
