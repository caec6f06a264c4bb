"""What a model cannot do, said before a call is admitted instead of by its provider. Pure functions.

Only what is known of a model is judged, and only what is surely too much: the provider refuses the rest.
"""

from dataclasses import replace
from typing import Any

import orjson

from apps.catalog.resolution import ResolvedModel
from apps.core.errors import InvalidField

# Of the text that people send, prose has four to five bytes a token, indented code some more.
_MOST_BYTES_PER_TOKEN = 6
_CAPS = ("max_tokens", "max_completion_tokens")
_IMAGES = ("image_url", "input_image")
_AUDIO = ("input_audio",)


def require_within_limits(model: ResolvedModel, body: dict[str, Any]) -> None:
    """Whether this model can answer an OpenAI request body, its fallbacks left aside.

    Raises: InvalidField for too many output or input tokens or answers, and for images, audio, tools or a JSON schema
    that it does not take.
    """
    if "input" in body and model.supports_embeddings is False:
        raise _refusal(f"'{model.asked}' makes no embeddings. Ask for another model.", "model")
    most = model.max_output_tokens
    for name in _CAPS:
        if most is not None and (body.get(name) or 0) > most:
            raise _refusal(f"'{model.asked}' answers with at most {most} tokens. Ask for {most} or less.", name)
    if model.max_choices is not None and (body.get("n") or 1) > model.max_choices:
        raise _refusal(f"'{model.asked}' takes n up to {model.max_choices}.", "n")
    if model.supports_tools is False:
        for name in ("tools", "functions"):
            if body.get(name):
                raise _refusal(f"'{model.asked}' calls no tools. Leave them out or ask for another model.", name)
    if model.supports_json_schema is False and (body.get("response_format") or {}).get("type") == "json_schema":
        raise _refusal(
            f"'{model.asked}' does not answer by a JSON schema. Ask for 'json_object' or for another model.",
            "response_format",
        )
    if model.supports_vision is False:
        _require_no_part(model, body, _IMAGES, "images")
    if model.supports_audio is False:
        _require_no_part(model, body, _AUDIO, "audio")
    window = model.context_window_tokens
    if window is not None and (least := least_input_tokens(body)) > window:
        raise _refusal(
            f"The input has at least about {least} tokens, and '{model.asked}' takes {window}. Send less.", "messages"
        )


def able(model: ResolvedModel, body: dict[str, Any]) -> ResolvedModel:
    """The model without those of its candidates that cannot answer: the first that can, the others its fallbacks.

    Raises: InvalidField, the first candidate's, when none of them can.
    """
    refusal: InvalidField | None = None
    found: list[ResolvedModel] = []
    for candidate in model.candidates:
        try:
            require_within_limits(candidate, body)
        except InvalidField as error:
            refusal = refusal or error
        else:
            found.append(candidate)
    if refusal is None:
        return model
    if not found:
        raise refusal
    return replace(found[0], fallbacks=tuple(found[1:]))


def least_input_tokens(body: dict[str, Any]) -> int:
    """Tokens that the text of a request body has at least, going by its bytes; images and audio are not counted."""
    size = sum(_text_bytes(message) for message in body.get("messages") or [])
    size += sum(len(orjson.dumps(body[name])) for name in ("tools", "functions", "response_format") if body.get(name))
    return size // _MOST_BYTES_PER_TOKEN


def _text_bytes(message: dict[str, Any]) -> int:
    content = message.get("content")
    if isinstance(content, str):
        return _size(content)
    if not isinstance(content, list):
        return 0
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return sum(_size(text) for text in texts if isinstance(text, str))


def _size(text: str) -> int:
    # Whether a string is ASCII is known without looking at it; encoding megabytes is not free.
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _require_no_part(model: ResolvedModel, body: dict[str, Any], kinds: tuple[str, ...], word: str) -> None:
    for number, message in enumerate(body.get("messages") or []):
        content = message.get("content")
        for place, part in enumerate(content if isinstance(content, list) else []):
            if isinstance(part, dict) and part.get("type") in kinds:
                raise _refusal(
                    f"'{model.asked}' takes no {word}. Leave them out or ask for another model.",
                    "messages",
                    number,
                    "content",
                    place,
                )


def _refusal(message: str, *where: str | int) -> InvalidField:
    error = InvalidField(str(where[0]), message, kind="model_limit")
    error.errors[0]["loc"] = ["body", *where]
    return error
