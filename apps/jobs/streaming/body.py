"""A streamed answer as the body of an HTTP response: server-sent events, whatever edge writes them.

It holds one of the places for waiting callers until it is closed, by its end or because the client went away.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from typing import Any, Protocol

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, StreamingHttpResponse

from apps.core import bodies
from apps.core.db import patiently, release_connection
from apps.jobs import dispatch, replies, services, waiting
from apps.jobs.models import Call
from apps.jobs.streaming.reading import Delta, End, Idle, Reading
from apps.teams.models import Team

# A call that fails before its first piece is answered with a status of its own, if it fails within this time.
FIRST_PIECE_WITHIN_S = 10.0
KEEPALIVE_EVERY_S = 10.0
KEEPALIVE = b": keepalive\n\n"
DONE = b"data: [DONE]\n\n"

log = logging.getLogger("saasllm.streams")


class Writer(Protocol):
    """How an edge spells a stream."""

    def delta(self, choices: list[dict[str, Any]]) -> bytes:
        """A piece."""
        ...

    def end(self, end: End) -> Iterator[bytes]:
        """What comes last, before `[DONE]`: the rest and the usage, or what went wrong."""
        ...

    def error(self, message: str) -> bytes:
        """That the stream cannot go on."""
        ...


class Body:
    """Iterated once by the server, which closes it in any case."""

    def __init__(
        self,
        team: Team,
        call: Call,
        submitted: services.Submitted,
        first: list[Delta | End],
        events: Iterator[Delta | Idle | End],
        writer: Writer,
        place: ExitStack,
    ) -> None:
        self.call = call
        self.submitted = submitted
        self._team = team
        self._first = first
        self._events = events
        self._writer = writer
        self._place = place
        self._has_ended = False

    def __iter__(self) -> Iterator[bytes]:
        yield KEEPALIVE
        said_at = time.monotonic()
        is_told = False
        try:
            for item in chain(self._first, self._events):
                if isinstance(item, Idle):
                    if time.monotonic() - said_at < KEEPALIVE_EVERY_S:
                        continue
                    yield KEEPALIVE
                elif isinstance(item, Delta):
                    yield self._writer.delta(item.choices)
                else:
                    yield from self._writer.end(item)
                    is_told = True
                said_at = time.monotonic()
        except (DatabaseError, InterfaceError) as error:
            # The call goes on; who asks again is given its answer.
            log.warning("stream of call %s ends without its answer: %s", self.call.pk, type(error).__name__)
            yield self._writer.error("The service is temporarily unavailable. Try again shortly.")
        yield DONE
        # Only now: a client that left before the last byte asks again, and is then given this call's answer.
        self._has_ended = is_told

    def close(self) -> None:
        """Give the place back. A client that went away before the end is remembered, by its team's choice."""
        try:
            close = getattr(self._events, "close", None)
            if close is not None:
                close()
            if not self._has_ended:
                self._has_ended = True
                services.leave_stream(self._team, self.call)
        except (DatabaseError, InterfaceError):
            replies.mailbox().owe(str(self.call.pk))
        finally:
            release_connection()
            self._place.close()


def response(request: HttpRequest, body: Body) -> StreamingHttpResponse:
    """The answer that a body is sent in, with its job and call in the headers. What was asked is let go of."""
    # Django keeps the request until the answer is closed: a long prompt would wait in memory for its answer's end.
    bodies.forget(request)
    answer = StreamingHttpResponse(body, content_type="text/event-stream; charset=utf-8")
    answer["Cache-Control"] = "no-cache"
    # Said to nginx, which would gather it.
    answer["X-Accel-Buffering"] = "no"
    answer["X-Job-Id"] = str(body.call.job_id)
    answer["X-Call-Id"] = str(body.call.pk)
    for name, value in body.submitted.headers.items():
        answer[name] = value
    if body.submitted.is_replay:
        answer["Idempotency-Replayed"] = "true"
    return answer


def opened(
    team: Team,
    *,
    submit: Callable[[str], services.Submitted],
    writer_for: Callable[[Call], Writer],
    with_job: bool = False,
) -> Body:
    """Submit a call (told where its pieces go) and read its answer up to its first piece.

    Raises: ServerBusy, what `submit` raises, and the call's own failure while nothing was sent on.
    """
    mailbox = replies.mailbox()
    with ExitStack() as place:
        place.enter_context(mailbox.place())
        submitted = submit(mailbox.name)
        job_id, call_id = str(submitted.job_id), str(submitted.call_id)

        def find() -> Call:
            until = time.monotonic() + waiting.DATABASE_PATIENCE_S
            return patiently(
                lambda: services.find_answered(team, job_id, call_id, with_job=with_job or submitted.has_ceiling),
                until=until,
            )

        try:
            call = services.find_streamed(team, job_id, call_id)
            reading = Reading(mailbox, submitted.call_id, is_new=submitted.is_new, find=find)
            publish = (lambda: dispatch.publish_new(submitted.call_id)) if submitted.is_new else None
            events = reading.events(publish=publish)
            first = _first(events)
        except (DatabaseError, InterfaceError):
            # Sent away because the database is gone: who asks again is given this call.
            mailbox.owe(call_id)
            raise
        if first and isinstance(first[0], End) and first[0].call.state != Call.State.SUCCEEDED:
            raise waiting.failure(first[0].call, headers=submitted.headers)
        return Body(team, call, submitted, first, events, writer_for(call), place.pop_all())


def _first(events: Iterator[Delta | Idle | End]) -> list[Delta | End]:
    """The first piece or the end, if one comes in time."""
    ends_at = time.monotonic() + FIRST_PIECE_WITHIN_S
    for item in events:
        if not isinstance(item, Idle):
            return [item]
        if time.monotonic() > ends_at:
            break
    return []
