"""A streamed answer as it grows: what of each piece is sent on, and the whole of it for the record. Pure."""

from dataclasses import dataclass, field
from typing import Any

from apps.jobs.gateway.interface import Chunk, Completion, Usage

# What a tool call has under its type's name; its text comes in pieces.
CALLED = {"function": "arguments", "custom": "input"}


@dataclass(slots=True)
class _Choice:
    message: dict[str, Any] = field(default_factory=lambda: {"role": "assistant", "content": ""})
    tool_calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    finish_reason: str | None = None


class Assembly:
    """The pieces of one answer. `delivered_bytes` counts all that was sent on but roles and ids, in UTF-8."""

    def __init__(self) -> None:
        self.delivered_bytes = 0
        self.usage: Usage | None = None
        self._choices: dict[int, _Choice] = {}
        self._provider_id = ""
        self._created = 0
        self._resolved_model = ""
        self._raw_usage = ""
        self._cost_nanousd: int | None = None

    def add(self, chunk: Chunk) -> list[dict[str, Any]]:
        """Take a piece in. Returns its choices to be sent on now: finish reasons come at the end, with the usage."""
        self._provider_id = self._provider_id or chunk.provider_id
        self._created = self._created or chunk.created
        self._resolved_model = self._resolved_model or chunk.resolved_model
        if chunk.usage is not None or chunk.raw_usage:
            self.usage, self._raw_usage = chunk.usage, chunk.raw_usage
        if chunk.cost_nanousd is not None:
            self._cost_nanousd = chunk.cost_nanousd
        relayed = []
        for choice in chunk.choices:
            sent_on = self._add(choice)
            if sent_on is not None:
                relayed.append(sent_on)
        return relayed

    def _add(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        index, delta = int(choice.get("index") or 0), dict(choice.get("delta") or {})
        known = self._choices.get(index)
        is_first = known is None
        if known is None:
            known = self._choices[index] = _Choice()
        known.finish_reason = choice.get("finish_reason") or known.finish_reason
        delta.pop("role", None)
        for name, value in delta.items():
            if name == "tool_calls":
                self._add_tool_calls(known, value)
            else:
                known.message[name] = _joined(known.message.get(name), value)
                self.delivered_bytes += _size(value)
        if is_first:
            delta = {"role": "assistant", "content": "", **delta}
        elif not delta and not choice.get("logprobs"):
            return None
        sent_on = {"index": index, "delta": delta, "finish_reason": None}
        if choice.get("logprobs") is not None:
            sent_on["logprobs"] = choice["logprobs"]
        return sent_on

    def _add_tool_calls(self, known: _Choice, pieces: list[dict[str, Any]]) -> None:
        for piece in pieces:
            call = known.tool_calls.setdefault(int(piece.get("index") or 0), {"type": "function"})
            for name in ("id", "type"):
                if piece.get(name):
                    call[name] = piece[name]
            for kind in CALLED:
                if isinstance(part := piece.get(kind), dict):
                    call[kind] = _joined(call.get(kind), part)
                    # A name counts: who was sent it may not be sent another model's arguments.
                    self.delivered_bytes += _size(part)

    def completion(self, *, finish_reason: str | None = None) -> Completion:
        """The answer so far as one that was not streamed. `finish_reason` is for choices that have none yet."""
        choices = []
        for index, known in sorted(self._choices.items()):
            message = dict(known.message)
            if known.tool_calls:
                message["tool_calls"] = [_whole(call) for _, call in sorted(known.tool_calls.items())]
            reason = known.finish_reason or finish_reason or "stop"
            choices.append({"index": index, "message": message, "finish_reason": reason})
        return Completion(
            provider_id=self._provider_id,
            created=self._created,
            resolved_model=self._resolved_model,
            choices=choices,
            usage=self.usage,
            raw_usage=self._raw_usage,
            cost_nanousd=self._cost_nanousd,
        )


def _joined(before: Any, piece: Any) -> Any:
    """Texts one behind the other, also inside of objects; of anything else the newest."""
    if isinstance(before, str) and isinstance(piece, str):
        return before + piece
    if isinstance(before, dict) and isinstance(piece, dict):
        return {**before, **{name: _joined(before.get(name), value) for name, value in piece.items()}}
    return piece


def _size(value: Any) -> int:
    """Bytes of text in a piece."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return sum(_size(each) for each in value.values())
    return 0


def _whole(call: dict[str, Any]) -> dict[str, Any]:
    """A tool call as it is kept: a function's has arguments, if only empty ones."""
    if call["type"] == "function":
        return {**call, "function": {"arguments": "", **call.get("function", {})}}
    return call
