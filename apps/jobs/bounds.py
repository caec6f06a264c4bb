"""The most a call can use, known before it is made: what a metered job's hold rests on.

Source: docs/ledger.md, "Bounds". A byte-level tokenizer never makes more tokens than there are bytes.
"""

from dataclasses import dataclass, replace
from typing import Any

import orjson
from django.conf import settings

from apps.catalog.services import ResolvedModel

# Beside the bytes: the frame of a message, and what an image or audio part costs that is named by URL.
TOKENS_PER_MESSAGE = 8
TOKENS_PER_MEDIA_PART = 4096
_COUNTED = ("messages", "tools", "response_format", "functions", "input")
_IMAGES = ("image_url", "input_image")
_AUDIO = ("input_audio",)
# A file may be a scan.
_MEDIA = (*_IMAGES, *_AUDIO, "file")


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
    input_tokens = size + TOKENS_PER_MESSAGE * len(messages) + TOKENS_PER_MEDIA_PART * _parts(messages, _MEDIA)
    if "input" in body:
        # Embeddings have no output.
        nanousd = max(_cost_nanousd(candidate, body, input_tokens, 0) for candidate in model.candidates)
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
    nanousd = max(_cost_nanousd(candidate, body, input_tokens, output_tokens) for candidate in model.candidates)
    return Bound(input_tokens, output_tokens, cap, nanousd)


def expected_tokens(body: dict[str, Any], model: ResolvedModel) -> int:
    """What a call is counted as in tokens a minute until it has ended: the bound, but four bytes of text a token.

    With a token a byte, limits would refuse four times what they are meant to.
    """
    messages = body.get("messages") or []
    overhead = TOKENS_PER_MESSAGE * len(messages) + TOKENS_PER_MEDIA_PART * _parts(messages, _MEDIA)
    bound = of_call(body, model)
    return estimated_tokens(bound.input_tokens - overhead) + overhead + bound.output_tokens


def of_tokens(model: ResolvedModel, *, input_tokens: int, body: dict[str, Any]) -> Bound:
    """Like `of_call`, of a body whose messages are not known but their tokens are."""
    out = of_call(body, model)
    nanousd = max(_cost_nanousd(candidate, body, input_tokens, out.output_tokens) for candidate in model.candidates)
    return Bound(input_tokens, out.output_tokens, out.output_cap, nanousd)


def _cost_nanousd(model: ResolvedModel, body: dict[str, Any], input_tokens: int, output_tokens: int) -> int:
    """The most that so many tokens can cost: all of them of the dearest class that the request may use."""
    rates = model.rates
    if rates is None:
        return 0
    messages = body.get("messages") or []
    input_rate, output_rate = rates.dearest_input, max(rates.dearest_output, rates.of("image_output"))
    if rates.audio_input is not None and _parts(messages, _AUDIO):
        input_rate = max(input_rate, rates.audio_input)
    if rates.image_input is not None and _parts(messages, (*_IMAGES, "file")):
        input_rate = max(input_rate, rates.image_input)
    if rates.audio_output is not None and (body.get("audio") or body.get("modalities")):
        output_rate = max(output_rate, rates.audio_output)
    tokens = {"input": input_tokens, "output": output_tokens}
    return replace(rates, input=input_rate, output=output_rate).cost_nanousd(tokens, images=images(body))


def images(body: dict[str, Any]) -> int:
    """How many images are sent."""
    return _parts(body.get("messages") or [], _IMAGES)


def _parts(messages: list[Any], kinds: tuple[str, ...]) -> int:
    count = 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            count += sum(1 for part in content if isinstance(part, dict) and part.get("type") in kinds)
    return count


def estimated_tokens(text_bytes: int) -> int:
    """Tokens of so many bytes of text when the provider does not say: four bytes each, at least one."""
    return max(1, -(-text_bytes // 4))
