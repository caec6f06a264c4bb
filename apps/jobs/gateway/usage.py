"""From the usage that a provider sends to disjoint classes of tokens that add up to its total.

Providers mean different things by the same names: OpenAI's cached and reasoning tokens are within prompt and
completion, Anthropic's cached ones beside the prompt, xAI's reasoning beside the completion and within the total.
The total says which; docs/prices.md, "Usage", has the rules, tests/jobs/usage_vectors.json cases of each provider.
"""

from collections.abc import Mapping
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
    for input_tokens, output_tokens in (
        (prompt, completion),
        (prompt, completion + thought),
        (prompt + beside, completion),
        (prompt + beside, completion + thought),
    ):
        if (
            total in (0, input_tokens + output_tokens)
            and beside <= input_tokens
            and thought <= output_tokens
            # Cached ones may be sound or images too.
            and sum(inputs.values()) - inputs.get("cached_input", 0) <= input_tokens
            and sum(outputs.values()) <= output_tokens
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


_NOTHING: Mapping[str, Any] = {}
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
    found: dict[str, int] = {}
    write = 0
    if written:
        write = max(written)
        for_an_hour = _said(
            _dict(raw.get("cache_creation")).get("ephemeral_1h_input_tokens"),
            _dict(details.get("cache_creation_token_details")).get("ephemeral_1h_input_tokens"),
        )
        if for_an_hour:
            found["cache_write_1h"] = min(write, max(for_an_hour))
            write -= found["cache_write_1h"]
    if sound := whole(details.get("audio_tokens")):
        found["audio_input"] = sound
    if write:
        found["cache_write"] = write
    if drawn := whole(details.get("image_tokens")):
        found["image_input"] = drawn
    if cached:
        found["cached_input"] = min(cached)
    return found


def _output_classes(raw: Mapping[str, Any]) -> dict[str, int]:
    details = _dict(raw.get("completion_tokens_details"))
    found: dict[str, int] = {}
    if drawn := whole(details.get("image_tokens")):
        found["image_output"] = drawn
    if sound := whole(details.get("audio_tokens")):
        found["audio_output"] = sound
    if reasoning := _said(details.get("reasoning_tokens"), raw.get("reasoning_tokens")):
        found["reasoning"] = max(reasoning)
    return found


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
        if taken := min(count, tokens):
            found[name] = taken
            tokens -= taken
    if tokens:
        found[rest] = tokens
    return found


def _said(*values: object) -> list[int]:
    # Most are not there.
    return [count for value in values if value is not None and (count := whole(value))]


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else _NOTHING
