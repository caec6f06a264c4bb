"""What is read from OpenAI's JSON: completions, chunks of a stream, embeddings, usage, cost.

Invariant: only what is named here passes; no field that would name the provider, no `content: null`.
"""

import base64
import json
import math
import time
from array import array
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from apps.core.money import NANOUSD
from apps.jobs.gateway import failures
from apps.jobs.gateway.interface import FINISH_REASONS, Chunk, Completion, Embeddings, Usage
from apps.jobs.gateway.usage import read_usage, whole

# What providers call the same thing (through LiteLLM or not).
_FINISH_SPELLINGS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
    "complete": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "safety": "content_filter",
    "refusal": "content_filter",
}
# A message's fields that are passed on. LiteLLM and others add some that name the provider.
_MESSAGE_FIELDS = frozenset(
    [
        "content", "tool_calls", "function_call", "refusal", "annotations", "audio", "images",
        "reasoning", "reasoning_content", "thinking_blocks",
    ]
)  # fmt: skip
# A tool call's, of either type. Gemini takes a call back only with the signature in `extra_content`.
_CALL_FIELDS = frozenset(["index", "id", "type", "function", "custom", "extra_content"])
_CALLED_FIELDS = frozenset(["name", "arguments", "input"])
# Above it a reported cost of one call is nonsense.
_MAX_COST_USD = 10_000
# How deep an answer's choices lie in what is stored and sent, generously.
_ENVELOPE_DEPTH = 8
# An event with fewer brackets cannot be nested too deeply for the writer.
_HARMLESS_BRACKETS = 200


def load(content: bytes) -> Any:
    """The answer's JSON, also where a strict parser refuses it: for NaN in a usage, or half an emoji (a surrogate
    without its other half, where an answer was cut) in a text. Raises: GatewayError."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            lenient = json.dumps(json.loads(content, parse_constant=str), ensure_ascii=False)
            return orjson.loads(lenient.encode(errors="replace"))
        except (ValueError, RecursionError):
            raise failures.malformed() from None


def parse_completion(body: Any, *, cost: str | None = None) -> Completion:
    """A completion of a whole answer's JSON. Raises: GatewayError."""
    if not isinstance(body, dict):
        raise failures.malformed()
    if body.get("error"):
        raise failures.reported(body["error"])
    choices = [_choice(index, choice) for index, choice in enumerate(_list(body.get("choices")))]
    if not choices or not _can_be_kept(choices):
        raise failures.malformed()
    raw_usage = body.get("usage")
    usage = read_usage(raw_usage)
    if usage == Usage(0, 0) and any(_says_something(choice["message"]) for choice in choices):
        # LiteLLM fills in zeros where its upstream sent no usage.
        usage = None
    return Completion(
        provider_id=_text(body.get("id")),
        created=whole(body.get("created")) or int(time.time()),
        resolved_model=_model(body),
        choices=choices,
        usage=usage,
        raw_usage=_kept_usage(raw_usage),
        cost_nanousd=read_cost(cost),
    )


class ChunkReader:
    """Makes chunks of a stream's events, and knows whether the answer is whole."""

    def __init__(self, *, choices: int = 1, has_cost: bool = False) -> None:
        """`choices` is how many were asked for; with `has_cost` the stream's word on what it cost is taken."""
        self._choices = choices
        self._has_cost = has_cost
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        self._is_cut = False
        self._calling: set[int] = set()
        self._has_spoken = False

    @property
    def is_whole(self) -> bool:
        """Whether every choice that began has its finish reason, and there was one: enough at an orderly end."""
        return bool(self._ended) and self._ended == self._begun

    @property
    def has_all(self) -> bool:
        """Whether nothing but the usage can still come. Choices may be sent one after another."""
        return self.is_whole and len(self._ended) >= self._choices

    def read(self, data: bytes) -> Chunk | None:
        """The chunk of an event's data; None when it says nothing. Raises: GatewayError."""
        chunk = self.parse(load(data))
        is_suspect = data.count(b"[") + data.count(b"{") > _HARMLESS_BRACKETS
        if is_suspect and chunk is not None and not _can_be_kept(chunk.choices):
            raise failures.malformed()
        return chunk

    def close(self) -> Chunk | None:
        """At the provider's own word that the answer is over: the finish reasons that it owes, if any.

        Of several choices LiteLLM sends that of the first to end alone (seen with 1.106.2). The others may have met
        the same cap.  Raises: GatewayError when no choice has one.
        """
        if not self._ended:
            raise failures.broken_off()
        owed = sorted(self._begun - self._ended)
        self._ended |= self._begun
        otherwise = "length" if self._is_cut else "stop"
        ends = [(index, "tool_calls" if index in self._calling else otherwise) for index in owed]
        return (
            Chunk([{"index": index, "delta": {}, "finish_reason": reason} for index, reason in ends])
            if ends
            else None
        )

    def parse(self, event: Any) -> Chunk | None:
        """The same of an event that has been parsed."""
        if not isinstance(event, dict):
            raise failures.malformed()
        if event.get("error"):
            raise failures.reported(event["error"])
        choices = [
            kept
            for position, choice in enumerate(_list(event.get("choices")))
            if (kept := self._choice(position, choice)) is not None
        ]
        raw_usage = event.get("usage")
        if raw_usage is None and not choices:
            return None
        usage = read_usage(raw_usage)
        if usage == Usage(0, 0) and self._has_spoken:
            usage = None
        reported = raw_usage.get("cost") if self._has_cost and isinstance(raw_usage, dict) else None
        return Chunk(
            choices=choices,
            provider_id=_text(event.get("id")),
            created=whole(event.get("created")) or 0,
            resolved_model=_model(event),
            usage=usage,
            raw_usage=_kept_usage(raw_usage),
            cost_nanousd=read_cost(str(reported)) if reported is not None else None,
        )

    def _choice(self, position: int, choice: Any) -> dict[str, Any] | None:
        """One choice as it is sent on; None when it says nothing new."""
        raw = (choice.get("delta") or {}) if isinstance(choice, dict) else None
        if not isinstance(raw, dict):
            raise failures.malformed()
        index = whole(choice.get("index"))
        if index is None:
            index = position
        delta = _message(raw)
        if calls := delta.get("tool_calls"):
            self._calling.add(index)
            # Some leave out the index that tells several calls apart, which clients rely on.
            delta["tool_calls"] = [{"index": number, **call} for number, call in enumerate(calls)]
        said = any(delta.values())
        self._has_spoken |= said
        reason = None
        if choice.get("finish_reason") and index not in self._ended:
            reason = _finish_reason(choice["finish_reason"], is_calling=index in self._calling)
            self._ended.add(index)
            self._is_cut |= reason == "length"
        if index not in self._begun:
            self._begun.add(index)
            delta = {"role": "assistant", "content": "", **delta}
        elif not said and reason is None:
            return None
        result = {"index": index, "delta": delta, "finish_reason": reason}
        if choice.get("logprobs") is not None:
            result["logprobs"] = choice["logprobs"]
        return result


def chunks_of(completion: Completion, *, split: Callable[[str], list[str]]) -> Iterator[Chunk]:
    """A whole answer as a stream: beginnings, pieces of text and arguments, finish reasons, usage."""

    def chunk(choices: list[dict[str, Any]], **more: Any) -> Chunk:
        return Chunk(choices, completion.provider_id, completion.created, completion.resolved_model, **more)

    def delta(index: int, **said: Any) -> list[dict[str, Any]]:
        return [{"index": index, "delta": said, "finish_reason": None}]

    for choice in completion.choices:
        index, message = choice["index"], choice["message"]
        whole = {name: message[name] for name in message if name not in ("role", "content", "tool_calls")}
        yield chunk(delta(index, role="assistant", content="", **whole))
        for text in split(message["content"]):
            yield chunk(delta(index, content=text))
        for number, call in enumerate(_list(message.get("tool_calls"))):
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict):
                continue
            head = {**call, "index": number, "function": {**function, "arguments": ""}}
            yield chunk(delta(index, tool_calls=[head]))
            for text in split(_text(function.get("arguments"))):
                yield chunk(delta(index, tool_calls=[{"index": number, "function": {"arguments": text}}]))
        last = {"index": index, "delta": {}, "finish_reason": choice["finish_reason"]}
        if "logprobs" in choice:
            last["logprobs"] = choice["logprobs"]
        yield chunk([last])
    if completion.usage is not None or completion.raw_usage:
        yield chunk([], usage=completion.usage, raw_usage=completion.raw_usage, cost_nanousd=completion.cost_nanousd)


def parse_embeddings(body: Any, *, count: int, cost: str | None = None) -> Embeddings:
    """`count` vectors of an answer's JSON, in the order of the inputs. Raises: GatewayError."""
    if not isinstance(body, dict):
        raise failures.malformed()
    if body.get("error"):
        raise failures.reported(body["error"])
    vectors: dict[int, list[float]] = {}
    for position, entry in enumerate(_list(body.get("data"))):
        if not isinstance(entry, dict):
            raise failures.malformed()
        index = whole(entry.get("index"))
        vectors[position if index is None else index] = _vector(entry.get("embedding"))
    if sorted(vectors) != list(range(count)):
        raise failures.malformed()
    raw_usage = body.get("usage")
    # Nothing is generated, so that most leave the output tokens out.
    said = {"completion_tokens": 0, **raw_usage} if isinstance(raw_usage, dict) else None
    usage = read_usage(said, has_output=False)
    return Embeddings(
        vectors=[vectors[index] for index in range(count)],
        resolved_model=_model(body),
        usage=None if usage == Usage(0, 0) else usage,
        raw_usage=_kept_usage(raw_usage),
        cost_nanousd=read_cost(cost),
    )


def read_cost(text: str | None) -> int | None:
    """A reported cost in dollars as nano-dollars, rounded up; None when missing, negative or absurd."""
    if not text:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    # Compared before it is multiplied: an absurd exponent overflows.
    if not value.is_finite() or not 0 <= value <= _MAX_COST_USD:
        return None
    return math.ceil(value * NANOUSD)


def _choice(index: int, choice: object) -> dict[str, Any]:
    """One choice as it is sent on: role and content always there, finish reason in OpenAI's spelling."""
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise failures.malformed()
    message = {"role": "assistant", "content": "", **_message(choice["message"])}
    reason = _finish_reason(choice.get("finish_reason"), is_calling="tool_calls" in message)
    result = {"index": index, "message": message, "finish_reason": reason}
    if choice.get("logprobs") is not None:
        result["logprobs"] = choice["logprobs"]
    return result


def _message(raw: dict[str, Any]) -> dict[str, Any]:
    """What is passed on of a message or a delta, but for its role; `content` is a text where it is there."""
    kept = {name: value for name, value in raw.items() if value is not None and name in _MESSAGE_FIELDS}
    content = kept.get("content", "")
    if not isinstance(content, str):
        kept["content"] = "".join(_text(part.get("text")) for part in _list(content) if isinstance(part, dict))
    if "tool_calls" in kept:
        calls = [_call(call) for call in _list(kept.pop("tool_calls")) if isinstance(call, dict)]
        if calls:
            kept["tool_calls"] = calls
    return kept


def _call(raw: dict[str, Any]) -> dict[str, Any]:
    """A tool call, or a fragment of one, as it is passed on: without the provider's own fields, which LiteLLM lets
    through and adds to, also in the function, and without nulls, which its SDK fills fragments up with."""
    kept = {name: value for name, value in raw.items() if value is not None and name in _CALL_FIELDS}
    for kind, text in (("function", "arguments"), ("custom", "input")):
        called = kept.get(kind)
        if called is None:
            continue
        if not isinstance(called, dict) or not isinstance(called.get("name") or "", str):
            raise failures.malformed()
        called = {n: value for n, value in called.items() if value is not None and n in _CALLED_FIELDS}
        if not isinstance(called.get(text, ""), str):
            # Some send the object that its text should be.
            called[text] = _dumped(called[text])
        kept[kind] = called
    if "index" in kept and not isinstance(kept["index"], int):
        raise failures.malformed()
    return kept


def _finish_reason(said: object, *, is_calling: bool) -> str:
    reason = _text(said).lower()
    reason = _FINISH_SPELLINGS.get(reason, reason)
    if reason == "error":
        # An aggregator's way to say that its upstream failed in the middle.
        raise failures.reported(None)
    if reason not in FINISH_REASONS:
        reason = "tool_calls" if is_calling else "stop"
    return reason


def _says_something(message: dict[str, Any]) -> bool:
    return bool(message["content"] or message.get("tool_calls"))


def _vector(raw: object) -> list[float]:
    """A vector from numbers, or from the base64 of 32-bit floats that some send whatever they are asked for."""
    try:
        if isinstance(raw, str):
            values = array("f", base64.b64decode(raw, validate=True))
        else:
            values = array("d", raw if isinstance(raw, list) else [])
    except (TypeError, ValueError, OverflowError):
        raise failures.malformed() from None
    vector = values.tolist()
    if not vector or not math.isfinite(sum(vector)):
        raise failures.malformed()
    return vector


def _can_be_kept(choices: list[Any]) -> bool:
    """Whether the answer can be stored and sent on: the writer's depth limit is below the parser's."""
    for _ in range(_ENVELOPE_DEPTH):
        choices = [choices]
    return bool(_dumped(choices))


def _dumped(value: object) -> str:
    """`value` as JSON, empty when it is nested too deeply for that."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return ""


def _kept_usage(raw: object) -> str:
    return _dumped(raw)[:4000] if raw is not None else ""


def _model(body: dict[str, Any]) -> str:
    # PostgreSQL stores no NUL in a text.
    return _text(body.get("model")).replace("\0", "")[:255]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
