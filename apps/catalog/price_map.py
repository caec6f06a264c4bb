"""Prices from LiteLLM's published map (model_prices_and_context_window.json), and what they would change here.

The map has dollars per token; they are read as decimals and never as floats, and rounded to a nano-dollar per million
tokens.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from django.db import transaction

from apps.catalog import prices
from apps.catalog.errors import InvalidPriceMap
from apps.catalog.price_models import Price
from apps.catalog.rates import Rates
from apps.core.actors import Actor
from apps.core.errors import InvalidField
from apps.core.money import NANOUSD

# The map's fields, by the rate they are; the first that is there counts.
_FIELDS = {
    "input": ("input_cost_per_token",),
    "cached_input": ("cache_read_input_token_cost", "input_cost_per_token_cache_hit"),
    "cache_write": ("cache_creation_input_token_cost",),
    "cache_write_1h": ("cache_creation_input_token_cost_above_1hr",),
    "audio_input": ("input_cost_per_audio_token",),
    "image_input": ("input_cost_per_image_token",),
    "output": ("output_cost_per_token",),
    "reasoning": ("output_cost_per_reasoning_token",),
    "audio_output": ("output_cost_per_audio_token",),
    "image_output": ("output_cost_per_image_token",),
}
_PER_REQUEST = "input_cost_per_request"
# What the platform calls; of a model that only draws or speaks there is nothing to price.
_MODES = (None, "chat", "completion", "responses", "embedding")
_MTOK = 1_000_000
_MAX_USD = 1_000_000
_EXAMPLE = "sample_spec"


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the map. `has_tiers`: long inputs cost more, which is not priced here."""

    name: str
    provider: str
    rates: Rates
    has_tiers: bool = False


@dataclass(slots=True)
class PriceMap:
    """The models that could be read, by their name in lower case, and why others could not."""

    entries: dict[str, Entry] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def find(self, model: str) -> Entry | None:
        """The entry of a provider model: of its whole name, else of the part behind its provider's."""
        name = model.lower()
        provider, slash, rest = name.partition("/")
        found = self.entries.get(name)
        if found is None and slash:
            found = self.entries.get(rest)
            if found is not None and found.provider.lower() != provider:
                return None
        return found

    def why_not(self, model: str) -> str:
        """Why there is no entry for a provider model."""
        name = model.lower()
        return self.unreadable.get(name) or self.unreadable.get(name.partition("/")[2]) or "not in the map"


@dataclass(frozen=True, slots=True)
class Change:
    """A price that the map would make for a provider model, and the one that would be in force without it."""

    model: str
    before: Price | None
    entry: Entry

    @property
    def rates(self) -> Rates:
        return self.entry.rates

    @property
    def suspicion(self) -> str:
        """Why somebody should look before it counts, in a few words; empty when nothing is odd."""
        if not self.rates.input:
            return "costs nothing"
        if self.before is None:
            return ""
        if not self.rates.output and self.before.rates.output:
            return "output costs nothing"
        risen = prices.changes(self.before.rates, self.rates).values()
        return "more than double" if any(old is not None and (new or 0) > 2 * old for old, new in risen) else ""


@dataclass(slots=True)
class Diff:
    """What an import would do. `missing`: models of ours that the map does not price, and why."""

    changes: list[Change] = field(default_factory=list)
    unchanged: int = 0
    missing: dict[str, str] = field(default_factory=dict)


def read(text: str) -> PriceMap:
    """The map's models. Raises: InvalidPriceMap for what is no such map."""
    try:
        raw = json.loads(text, parse_float=Decimal, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise InvalidPriceMap(f"The price map is no JSON: {error}"[:300]) from None
    if not isinstance(raw, dict) or not any(isinstance(each, dict) for each in raw.values()):
        raise InvalidPriceMap("The price map must be an object with an object for each model.")
    found = PriceMap()
    for name, fields in raw.items():
        if name == _EXAMPLE or not isinstance(fields, dict) or fields.get("mode") not in _MODES:
            continue
        try:
            key = prices.require_model(name)
            found.entries.setdefault(key, _entry(key, fields))
        except (InvalidField, _Unreadable) as problem:
            found.unreadable[name.lower()] = str(problem)
    return found


def compare(price_map: PriceMap, models: Iterable[str], *, valid_from: datetime | None = None) -> Diff:
    """What the map would change of these provider models at an instant. One query."""
    standing = {price.model: price for price in prices.all_in_force(at=valid_from)}
    diff = Diff()
    for model in models:
        entry = price_map.find(model)
        if entry is None:
            diff.missing[model] = price_map.why_not(model)
            continue
        before = standing.get(model.lower())
        if before is not None and before.rates == entry.rates:
            diff.unchanged += 1
        else:
            diff.changes.append(Change(model.lower(), before, entry))
    return diff


def apply(diff: Diff, *, actor: Actor, source: str, valid_from: datetime | None = None, reason: str = "") -> int:
    """Make the prices of a diff, all or none. How many. Raises: InvalidField."""
    with transaction.atomic():
        for change in diff.changes:
            prices.add(change.model, change.rates, actor=actor, source=source, valid_from=valid_from, reason=reason)
    return len(diff.changes)


class _Unreadable(ValueError):
    """Why a model of the map cannot be priced."""


def _entry(name: str, fields: Mapping[str, Any]) -> Entry:
    rates = {rate: _nanousd_per_mtok(fields, names) for rate, names in _FIELDS.items()}
    if rates["input"] is None:
        raise _Unreadable("it has no price per input token")
    if rates["output"] is None:
        if fields.get("mode") != "embedding":
            raise _Unreadable("it has no price per output token")
        rates["output"] = 0
    per_request = _number(fields, _PER_REQUEST) or Decimal(0)
    if not any(rates.values()) and not per_request and _is_priced_otherwise(fields):
        raise _Unreadable("it is not priced by token")
    return Entry(
        name=name,
        provider=str(fields.get("litellm_provider") or ""),
        rates=Rates(**{**rates, "per_request": _whole(per_request * NANOUSD)}),  # type: ignore[arg-type]
        has_tiers=any("_above_" in each and each.endswith("k_tokens") for each in fields),
    )


def _nanousd_per_mtok(fields: Mapping[str, Any], names: Iterable[str]) -> int | None:
    for name in names:
        value = _number(fields, name)
        if value is not None:
            return _whole(value * _MTOK * NANOUSD)
    return None


def _number(fields: Mapping[str, Any], name: str) -> Decimal | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _Unreadable(f"its {name} is no number")
    # Compared before it is multiplied: an absurd exponent overflows.
    if not 0 <= value < Decimal(_MAX_USD) / _MTOK:
        raise _Unreadable(f"its {name} is negative or absurd")
    return Decimal(value)


def _whole(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=ROUND_HALF_EVEN))


def _is_priced_otherwise(fields: Mapping[str, Any]) -> bool:
    """By second, image, character or query."""
    return any("_cost_per_" in name and isinstance(value, int | Decimal) and value for name, value in fields.items())
