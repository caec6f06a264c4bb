"""From the usage that a provider sends to disjoint classes of tokens that add up to its total.

Providers mean different things by the same names: OpenAI's cached and reasoning tokens are within prompt and
completion, Anthropic's cached ones beside the prompt, xAI's reasoning beside the completion and within the total.
The total says which; docs/prices.md, "Usage", has the rules, tests/jobs/usage_vectors.json cases of each provider.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

from apps.jobs.gateway.interface import Usage

# Above it a token count is nonsense, whatever was asked.
_MAX_TOKENS = 1_000_000_000


def read_usage(raw: object, *, has_output: bool = True) -> Usage | None:
    """Usage that can be believed: whole, not negative, not absurd. None otherwise, and the call is estimated.

    Usage that contradicts its own total is read so that it costs no less than that total: without discounts, and
    what is over counted as output (as input where nothing is generated).
    """
    if not isinstance(raw, dict):
        return None
    prompt, completion = whole(raw.get("prompt_tokens")), whole(raw.get("completion_tokens"))
    if prompt is None or completion is None or max(prompt, completion) > _MAX_TOKENS:
        return None
    total = whole(raw.get("total_tokens")) or 0
    if total > _MAX_TOKENS:
        total = 0
    inputs, outputs = _input_classes(raw), _output_classes(raw)
    if not inputs and not outputs and total in (0, prompt + completion):
        return Usage(prompt, completion)
    beside = sum(inputs.get(name, 0) for name in _CACHE)
    thought = outputs.get("reasoning", 0)
    # Beside the completion before beside the prompt: of two readings with one sum the dearer.
    for input_tokens, output_tokens in product((prompt, prompt + beside), (completion, completion + thought)):
        if (
            total in (0, input_tokens + output_tokens)
            and _fits(inputs, input_tokens, beside)
            and _fits(outputs, output_tokens, thought)
        ):
            return _usage(input_tokens, output_tokens, inputs, outputs)
    inputs.pop("cached_input", None)
    if has_output:
        completion = max(completion, total - prompt)
    else:
        prompt = max(prompt, total - completion)
    return _usage(prompt, completion, inputs, outputs, has_mismatch=True)


def whole(value: object) -> int | None:
    """A count, None for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


_CACHE = ("cached_input", "cache_write", "cache_write_1h")


def _input_classes(raw: Mapping[str, Any]) -> dict[str, int]:
    """Tokens of the classes of input that are named; the dearest first, for `_split`."""
    details = _dict(raw.get("prompt_tokens_details"))
    # One figure under several names: of different ones the smaller discount and the larger surcharge.
    cached = _said(
        details.get("cached_tokens"), raw.get("cache_read_input_tokens"), raw.get("prompt_cache_hit_tokens")
    )
    written = _said(
        raw.get("cache_creation_input_tokens"),
        details.get("cache_creation_tokens"),
        details.get("cache_write_tokens"),
    )
    for_an_hour = _said(
        *(
            _dict(place).get("ephemeral_1h_input_tokens")
            for place in (raw.get("cache_creation"), details.get("cache_creation_token_details"))
        )
    )
    write, write_1h = max(written, default=0), max(for_an_hour, default=0)
    return _named(
        cache_write_1h=min(write, write_1h),
        audio_input=whole(details.get("audio_tokens")),
        cache_write=write - min(write, write_1h),
        image_input=whole(details.get("image_tokens")),
        cached_input=min(cached, default=0),
    )


def _output_classes(raw: Mapping[str, Any]) -> dict[str, int]:
    details = _dict(raw.get("completion_tokens_details"))
    reasoning = _said(details.get("reasoning_tokens"), raw.get("reasoning_tokens"))
    return _named(
        image_output=whole(details.get("image_tokens")),
        audio_output=whole(details.get("audio_tokens")),
        reasoning=max(reasoning, default=0),
    )


def _fits(classes: Mapping[str, int], tokens: int, at_least: int) -> bool:
    """Whether the classes can be parts of so many tokens. Cached ones may be sound or images too."""
    return at_least <= tokens and sum(n for name, n in classes.items() if name != "cached_input") <= tokens


def _usage(
    input_tokens: int,
    output_tokens: int,
    inputs: Mapping[str, int],
    outputs: Mapping[str, int],
    *,
    has_mismatch: bool = False,
) -> Usage:
    classes = _split(input_tokens, inputs, "input") | _split(output_tokens, outputs, "output")
    is_plain = classes.keys() <= {"input", "output"}
    return Usage(input_tokens, output_tokens, None if is_plain else classes, has_mismatch)


def _split(tokens: int, classes: Mapping[str, int], rest: str) -> dict[str, int]:
    """So many tokens as disjoint classes; what is left is the rest."""
    found: dict[str, int] = {}
    for name, count in classes.items():
        found[name] = min(count, tokens)
        tokens -= found[name]
    return _named(**found, **{rest: tokens})


def _said(*values: object) -> list[int]:
    return [count for count in map(whole, values) if count]


def _named(**counts: int | None) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
