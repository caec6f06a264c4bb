"""Pieces on their way from the worker to the process that waits for them, in its reply stream.

One thread of a worker sends for all its streams: what gathers while it is sending is the next message, so that a
lone stream's pieces go out at once and many streams' go out together. A piece that could not be sent is lost.
"""

import threading
from collections import deque
from typing import Any

from apps.core.processes import of_this_process
from apps.jobs import replies

Piece = tuple[str, int, int, list[dict[str, Any]]]


class _Outbox:
    """What is still to be sent, with the thread that sends it."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, Piece] | threading.Event] = deque()
        self._is_something = threading.Event()
        threading.Thread(target=self._send_forever, name="relay", daemon=True).start()

    def put(self, item: "tuple[str, Piece] | threading.Event") -> None:
        self._waiting.append(item)
        self._is_something.set()

    def _send_forever(self) -> None:
        while True:
            self._is_something.wait()
            self._is_something.clear()
            pieces: list[tuple[str, Piece]] = []
            flushed: list[threading.Event] = []
            while self._waiting:
                item = self._waiting.popleft()
                if isinstance(item, threading.Event):
                    flushed.append(item)
                else:
                    pieces.append(item)
            if pieces:
                replies.send_pieces(pieces)
            for event in flushed:
                event.set()


class Relay:
    """Sends one claim's pieces on, numbered, so that a hole is noticed."""

    def __init__(self, reply_to: str, call_id: Any, claim: int) -> None:
        self._reply_to = reply_to
        self._call_id = str(call_id)
        self._claim = claim
        self._number = 0

    def send(self, choices: list[dict[str, Any]]) -> None:
        """Send a piece on. Never raises and does not wait."""
        if self._reply_to:
            of_this_process("outbox", _Outbox).put(
                (self._reply_to, (self._call_id, self._claim, self._number, choices))
            )
            self._number += 1

    def flush(self, *, timeout_s: float) -> None:
        """Wait until what was sent so far has gone out, so that the end does not overtake it; or for so long."""
        if self._number:
            gone = threading.Event()
            of_this_process("outbox", _Outbox).put(gone)
            gone.wait(timeout_s)
