"""The caller's side of a stream: pieces as they come, and at the end whatever of the answer has not come that way.

Who joined a call that somebody else began, and who lost pieces on the way, is given the rest from the stored answer.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import Empty
from typing import Any

import orjson
from django.db import DatabaseError, InterfaceError

from apps.core.db import release_connection
from apps.jobs import statements
from apps.jobs.models import Call
from apps.jobs.replies import ENDED, Mailbox
from apps.jobs.streaming.assembly import CALLED

# How long the row is not looked at while pieces may come: longer when the reply stream is known to be read.
LOOK_EVERY_S = (0.5, 5.0)

log = logging.getLogger("saasllm.streams")


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece: choices as in OpenAI's chunk, none with a finish reason."""

    choices: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing came for a while, and the call goes on."""


@dataclass(frozen=True, slots=True)
class End:
    """The call has ended. `is_whole` is false when its answer cannot be completed by what was sent."""

    call: Call
    choices: list[dict[str, Any]]
    is_whole: bool = True


@dataclass(slots=True)
class _Sent:
    """What of one choice was sent: characters of each text, and of the arguments of each tool call."""

    texts: dict[str, int] = field(default_factory=dict)
    arguments: dict[int, int] = field(default_factory=dict)

    @property
    def has_said(self) -> bool:
        """Whether anything was sent but a role: a tool call's name counts."""
        return any(self.texts.values()) or bool(self.arguments)

    def note(self, delta: dict[str, Any]) -> None:
        for name, value in delta.items():
            if name == "tool_calls":
                for piece in value:
                    index = int(piece.get("index") or 0)
                    length = sum(len((piece.get(kind) or {}).get(text) or "") for kind, text in CALLED.items())
                    self.arguments[index] = self.arguments.get(index, 0) + length
            elif isinstance(value, str) and name != "role":
                self.texts[name] = self.texts.get(name, 0) + len(value)

    def rest(self, message: dict[str, Any]) -> dict[str, Any]:
        """The part of a whole message that was not sent, as a delta."""
        delta: dict[str, Any] = {} if self.texts or self.arguments else {"role": "assistant", "content": ""}
        for name, value in message.items():
            if name == "tool_calls":
                calls = [self._rest_of_call(index, call) for index, call in enumerate(value)]
                if any(calls):
                    delta["tool_calls"] = [call for call in calls if call]
            elif isinstance(value, str) and name != "role" and (rest := value[self.texts.get(name, 0) :]):
                delta[name] = rest
        return delta

    def _rest_of_call(self, index: int, call: dict[str, Any]) -> dict[str, Any] | None:
        sent = self.arguments.get(index)
        if sent is None:
            return {"index": index, **call}
        for kind, text in CALLED.items():
            rest = (call.get(kind) or {}).get(text, "")[sent:]
            if rest:
                return {"index": index, kind: {text: rest}}
        return None


class Reading:
    """One caller's reading of a call's answer."""

    def __init__(self, mailbox: Mailbox, call_id: Any, *, is_new: bool, find: Callable[[], Call]) -> None:
        self._mailbox = mailbox
        self._call_id = call_id
        self._find = find
        self._sent: dict[int, _Sent] = {}
        self._claim = 0
        self._expected = 0
        # Nothing more is sent on as it comes; the rest of the answer is sent at the end.
        self._waits_for_end = not is_new
        self._is_broken = False

    def events(self, *, publish: Callable[[], object] | None = None) -> Iterator[Delta | Idle | End]:
        """Pieces, silences, and one end. Holds no database connection while it waits.

        `publish` sends a new call off once its reader is there, so that no piece can come too early.
        """
        with self._mailbox.inbox(self._call_id) as inbox:
            if publish is not None:
                publish()
            while not (publish is None and self._has_ended()):
                release_connection()
                first, most = LOOK_EVERY_S
                try:
                    item = inbox.get(timeout=most if self._mailbox.is_healthy() else first)
                except Empty:
                    if self._has_ended():
                        break
                    yield Idle()
                    continue
                if item is ENDED:
                    if self._has_ended():
                        break
                    continue
                choices = self._taken(*item)
                if choices:
                    yield Delta(choices)
            call = self._find()
        release_connection()
        yield self._end(call)

    def _has_ended(self) -> bool:
        try:
            return statements.STILL_OPEN.first(id=self._call_id) is None
        except (DatabaseError, InterfaceError) as error:
            log.warning("asking for call %s failed, asking again: %s", self._call_id, type(error).__name__)
            return False

    def _taken(self, claim: int, number: int, choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What of a piece is sent on: nothing of one that came twice, or that is not the next one."""
        if claim != self._claim:
            # Another worker began anew: an answer of its own, which does not continue what was sent.
            self._is_broken = self._is_broken or any(sent.has_said for sent in self._sent.values())
            self._claim, self._expected = claim, 0
        if self._waits_for_end or self._is_broken or number < self._expected:
            return []
        if number > self._expected:
            self._waits_for_end = True
            return []
        self._expected += 1
        for choice in choices:
            self._sent.setdefault(choice["index"], _Sent()).note(choice["delta"])
        return choices

    def _end(self, call: Call) -> End:
        payload = getattr(call, "payload", None)
        stored = orjson.loads(payload.response) if payload is not None and payload.response else {}
        choices = []
        for choice in stored.get("choices") or []:
            sent = self._sent.get(choice["index"], _Sent())
            choices.append(
                {
                    "index": choice["index"],
                    "delta": sent.rest(choice["message"]),
                    "finish_reason": choice["finish_reason"],
                }
            )
        is_whole = not self._is_broken and (bool(choices) or call.state != Call.State.SUCCEEDED)
        return End(call, choices, is_whole)
