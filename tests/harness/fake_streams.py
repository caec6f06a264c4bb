"""The fake provider's streams: an honest answer as events, whole or in one of the ways in which streams fail."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.harness import faults
from tests.harness.faults import Answer, Ending

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_LAST = b"0\r\n\r\n"
_STEM = ("id", "created", "model", "system_fingerprint")
_DONE = b"data: [DONE]\n\n"
# Closes with a reset instead of an orderly end.
_NO_LINGER = struct.pack("ii", 1, 0)
# Answered as if no stream had been asked for.
REFUSALS = frozenset({"400", "401", "429", "500", "200-error", "content-filter", "wrong-type"})


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event, and the text or arguments it carries."""

    data: bytes
    text: str = ""

    @property
    def is_chunk(self) -> bool:
        return self.data != _DONE


@dataclass(frozen=True, slots=True)
class Script:
    """What is sent, how it ends, what each event waits for the one before, and after how many all wait for a word."""

    answer: Answer
    events: list[Event]
    ending: Ending = Ending.WHOLE
    drip_s: float = 0.0
    hold_after: int | None = None


def script(request: dict[str, Any], honest: Answer, *, kind: str, has_cost: bool) -> Script:
    """The stream of an honest answer; `kind` is a fault's name, or empty."""
    events = _events(request, honest, kind=kind, has_cost=has_cost)
    # Of an answer that breaks off, the first half is there.
    half = events[: max(1, len(events) // 2)]
    if kind == "reset":
        return _failing(honest, kind, half, ending=Ending.RESET)
    if kind == "short-body":
        return _failing(honest, kind, half, ending=Ending.SHORT)
    if kind == "malformed-json":
        return _failing(honest, kind, [*half, Event(b'data: {"id": nothing of the kind\n\n')])
    if kind == "truncated-json":
        return _failing(honest, kind, [*half, Event(events[-2].data[: len(events[-2].data) // 2])])
    if kind == "stream-error":
        error = faults.error(kind, status=200, kind="server_error")
        return _failing(honest, kind, [*half, Event(b"data: " + error.body + b"\n\n")])
    if kind == "empty":
        return _failing(honest, kind, [Event(_DONE)])
    answer = faults.FAULTS[kind](honest) if kind in faults.FAULTS else honest
    return Script(answer, events)


def cut(whole: Script, chunks: int) -> Script:
    """The same stream, reset after so many chunks."""
    return _failing(whole.answer, f"cut-{chunks}", whole.events[:chunks], ending=Ending.RESET)


def _failing(honest: Answer, outcome: str, events: list[Event], *, ending: Ending = Ending.WHOLE) -> Script:
    return Script(faults.broken(honest, outcome=outcome), events, ending)


def _events(request: dict[str, Any], honest: Answer, *, kind: str, has_cost: bool) -> list[Event]:
    body = json.loads(honest.body)
    stem = json.dumps({name: body[name] for name in _STEM if name in body})[:-1].encode()
    stem = b"data: " + stem + b', "object": "chat.completion.chunk", "choices": ['

    def event(index: int, delta: dict[str, Any], text: str = "", finish: str | None = None, **more: Any) -> Event:
        choice = {"index": index, "delta": delta, "finish_reason": finish, **more}
        return Event(stem + json.dumps(choice).encode() + b"]}\n\n", text)

    events = []
    for choice in body["choices"]:
        index, message = choice["index"], choice["message"]
        content = message["content"]
        events.append(event(index, {"role": "assistant", "content": None if content is None else ""}))
        pieces = faults.words(content or "")
        if logprobs := choice.get("logprobs"):
            events += [
                event(index, {"content": word}, word, logprobs={"content": [told], "refusal": None})
                for word, told in zip(pieces, logprobs["content"], strict=True)
            ]
        else:
            events += [event(index, {"content": word}, word) for word in pieces]
        for number, call in enumerate(message.get("tool_calls") or []):
            function = call["function"]
            head = call | {"index": number, "function": function | {"arguments": ""}}
            events.append(event(index, {"tool_calls": [head]}))
            for word in faults.words(function["arguments"]):
                fragment = {"index": number, "function": {"arguments": word}}
                events.append(event(index, {"tool_calls": [fragment]}, word))
        events.append(event(index, {}, finish=choice["finish_reason"]))
    usage = json.loads(faults.FAULTS[kind](honest).body).get("usage") if kind.endswith("-usage") else body["usage"]
    if usage is not None and (request.get("stream_options") or {}).get("include_usage"):
        if has_cost:
            usage["cost"] = honest.nanousd / 1e9
        events.append(Event(stem + b'], "usage": ' + json.dumps(usage).encode() + b"}\n\n"))
    events.append(Event(_DONE))
    return events


class Play:
    """A script on its way to a client."""

    def __init__(
        self,
        script: Script,
        transport: asyncio.Transport,
        *,
        hold: Callable[[Callable[[], None]], None],
        on_end: Callable[[list[Event], bool], None],
        on_over: Callable[[], None],
    ) -> None:
        """`hold` is given what goes on after a pause. `on_end` is told what was sent and whether the client has gone,
        before the last byte goes, so that a journal knows when the client does; `on_over` is called after it."""
        self._script = script
        self._transport = transport
        self._hold = hold
        self._on_end = on_end
        self._on_over = on_over
        self._sent = 0
        self._is_under_way = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        if self._transport.is_closing():
            self._on_end([], True)
            self._on_over()
        elif self._script.drip_s == 0 and self._script.hold_after is None:
            self._on_end(self._script.events, False)
            self._transport.write(_HEAD + b"".join(map(_framed, self._script.events)))
            self._finish()
        else:
            self._transport.write(_HEAD)
            self._is_under_way = True
            self._step()

    def leave(self) -> None:
        """The client has gone: nothing more is sent."""
        if not self._is_under_way:
            return
        self._is_under_way = False
        if self._timer is not None:
            self._timer.cancel()
        self._on_end(self._script.events[: self._sent], True)
        self._on_over()

    def _step(self) -> None:
        if not self._is_under_way:
            # Its client left during the pause.
            return
        if self._sent == len(self._script.events):
            self._is_under_way = False
            self._on_end(self._script.events, self._transport.is_closing())
            self._finish()
            return
        self._transport.write(_framed(self._script.events[self._sent]))
        self._sent += 1
        if self._sent == self._script.hold_after:
            self._hold(self._step)
        else:
            self._timer = asyncio.get_running_loop().call_later(self._script.drip_s, self._step)

    def _finish(self) -> None:
        if self._script.ending is Ending.WHOLE:
            self._transport.write(_LAST)
        else:
            break_off(self._transport, self._script.ending)
        self._on_over()


def break_off(transport: asyncio.Transport, ending: Ending) -> None:
    """Close the connection in the middle of an answer: in an orderly way, or with a reset."""
    if ending is Ending.SHORT:
        transport.close()
        return
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def _framed(event: Event) -> bytes:
    return b"%x\r\n%s\r\n" % (len(event.data), event.data)
