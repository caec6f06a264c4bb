"""The most a call can use, known before it is made: what a metered job's hold rests on.

Source: docs/ledger.md, "Bounds". A byte-level tokenizer never makes more tokens than there are bytes.
"""

from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings

from apps.catalog.services import ResolvedModel
from apps.credits.pricing import token_cost_nanousd

# Beside the bytes: the frame of a message, and what an image or audio part costs that is named by URL.
TOKENS_PER_MESSAGE = 8
TOKENS_PER_MEDIA_PART = 4096
_COUNTED = ("messages", "tools", "response_format", "functions", "input")
_MEDIA = ("image_url", "input_audio", "input_image", "file")


@dataclass(frozen=True, slots=True)
class Bound:
    """Tokens and nano-dollars that a call cannot exceed. `output_cap` is per answer, tokens for all of them."""

    input_tokens: int
    output_tokens: int
    output_cap: int
    nanousd: int


def of_call(body: dict[str, Any], model: ResolvedModel) -> Bound:
    """The bound of an OpenAI request body for a model, and for the dearest of its fallbacks.

    Cost is 0 for a model without prices.
    """
    messages = body.get("messages") or []
    size = sum(len(orjson.dumps(body[name])) for name in _COUNTED if body.get(name))
    input_tokens = size + TOKENS_PER_MESSAGE * len(messages) + TOKENS_PER_MEDIA_PART * _media_parts(messages)
    if "input" in body:
        # Embeddings have no output.
        nanousd = max(_cost_nanousd(candidate, input_tokens, 0) for candidate in model.candidates)
        return Bound(input_tokens, 0, 0, nanousd)
    cap = (
        # Of two caps the provider may obey either.
        max(body.get("max_tokens") or 0, body.get("max_completion_tokens") or 0)
        or model.assumed_output_tokens
        or settings.DEFAULT_MAX_OUTPUT_TOKENS
    )
    # What was predicted and is not part of the answer is billed as output, beside the cap.
    predicted = len(orjson.dumps(body["prediction"])) if body.get("prediction") else 0
    output_tokens = (cap + predicted) * (body.get("n") or 1)
    nanousd = max(_cost_nanousd(candidate, input_tokens, output_tokens) for candidate in model.candidates)
    return Bound(input_tokens, output_tokens, cap, nanousd)


def expected_tokens(body: dict[str, Any], model: ResolvedModel) -> int:
    """What a call is counted as in tokens a minute until it has ended: the bound, but four bytes of text a token.

    With a token a byte, limits would refuse four times what they are meant to.
    """
    messages = body.get("messages") or []
    overhead = TOKENS_PER_MESSAGE * len(messages) + TOKENS_PER_MEDIA_PART * _media_parts(messages)
    bound = of_call(body, model)
    return estimated_tokens(bound.input_tokens - overhead) + overhead + bound.output_tokens


def _cost_nanousd(model: ResolvedModel, input_tokens: int, output_tokens: int) -> int:
    if model.input_nanousd_per_mtok is None or model.output_nanousd_per_mtok is None:
        return 0
    return token_cost_nanousd(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        input_nanousd_per_mtok=model.input_nanousd_per_mtok,
        output_nanousd_per_mtok=model.output_nanousd_per_mtok,
    )


def _media_parts(messages: list[Any]) -> int:
    count = 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            count += sum(1 for part in content if isinstance(part, dict) and part.get("type") in _MEDIA)
    return count


def estimated_tokens(text_bytes: int) -> int:
    """Tokens of so many bytes of text when the provider does not say: four bytes each, at least one."""
    return max(1, -(-text_bytes // 4))
