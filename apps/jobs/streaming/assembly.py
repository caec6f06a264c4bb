"""A streamed answer as it grows: what of each piece is sent on, and the whole of it for the record. Pure."""

from dataclasses import dataclass, field
from typing import Any

from apps.jobs.gateway.interface import Chunk, Completion, Usage


@dataclass(slots=True)
class _Choice:
    message: dict[str, Any] = field(default_factory=lambda: {"role": "assistant", "content": ""})
    tool_calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    finish_reason: str | None = None


class Assembly:
    """The pieces of one answer. `delivered_bytes` counts text and arguments of tool calls, in UTF-8."""

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
            elif isinstance(value, str) and isinstance(known.message.get(name, ""), str):
                known.message[name] = known.message.get(name, "") + value
                self.delivered_bytes += len(value.encode())
            else:
                known.message[name] = value
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
            call = known.tool_calls.setdefault(int(piece.get("index") or 0), {"type": "function", "function": {}})
            for name in ("id", "type"):
                if piece.get(name):
                    call[name] = piece[name]
            function = piece.get("function") or {}
            if function.get("name"):
                call["function"]["name"] = function["name"]
            arguments = function.get("arguments") or ""
            call["function"]["arguments"] = call["function"].get("arguments", "") + arguments
            self.delivered_bytes += len(arguments.encode())

    def completion(self, *, finish_reason: str | None = None) -> Completion:
        """The answer so far as one that was not streamed. `finish_reason` is for choices that have none yet."""
        choices = []
        for index, known in sorted(self._choices.items()):
            message = dict(known.message)
            if known.tool_calls:
                message["tool_calls"] = [call for _, call in sorted(known.tool_calls.items())]
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
