"""A job's calls on one axis of time: how long each waited, and its attempts one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from apps.console import formats
from apps.jobs.models import Attempt, Call

# The axis's length in a drawing's units.
WIDTH = 1000


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a call: waiting, or an attempt. `x` and `width` are of the drawing, `words` say what it was."""

    kind: str
    x: int
    width: int
    words: str


@dataclass(frozen=True, slots=True)
class Row:
    number: int
    call: Call
    spans: Sequence[Span]
    waited_ms: int
    took_ms: int
    is_over: bool

    @property
    def words(self) -> str:
        return f"Call {self.number}: " + ", then ".join(span.words for span in self.spans)


@dataclass(frozen=True, slots=True)
class Timeline:
    rows: Sequence[Row]
    length_ms: int
    width: int = WIDTH


def of(calls: Sequence[Call], attempts: Mapping[Any, Sequence[Attempt]], *, first_number: int = 1) -> Timeline:
    """The calls from the first one's creation to the last one's end, or to now while one is open."""
    if not calls:
        return Timeline((), 0)
    now = timezone.now()
    start = min(call.created_at for call in calls)
    end = max(max(call.ended_at or now, call.created_at) for call in calls)
    axis = _Axis(start, max(end - start, timedelta(milliseconds=1)))
    rows = [
        _row(first_number + place, call, attempts.get(call.pk, ()), axis, now) for place, call in enumerate(calls)
    ]
    return Timeline(rows, _ms(axis.length))


@dataclass(frozen=True, slots=True)
class _Axis:
    start: datetime
    length: timedelta

    def span(self, kind: str, since: datetime, until: datetime, words: str) -> Span:
        x = min(WIDTH - 3, max(0, int((since - self.start) / self.length * WIDTH)))
        width = max(3, int((until - since) / self.length * WIDTH))
        return Span(kind, x, min(width, WIDTH - x), words)


def _row(number: int, call: Call, attempts: Sequence[Attempt], axis: _Axis, now: datetime) -> Row:
    end = call.ended_at or now
    begun = attempts[0].started_at if attempts else end
    waited = max(begun - call.created_at, timedelta())
    spans = [
        axis.span("waiting", call.created_at, call.created_at + waited, f"waited {formats.duration(_ms(waited))}")
    ]
    for place, attempt in enumerate(attempts, start=1):
        until = attempt.ended_at or end
        took = formats.duration(_ms(max(until - attempt.started_at, timedelta())))
        code = f" ({attempt.error_code})" if attempt.error_code else ""
        words = f"attempt {place} {attempt.state}{code} after {took}"
        spans.append(axis.span(attempt.state, attempt.started_at, max(until, attempt.started_at), words))
    return Row(number, call, spans, _ms(waited), _ms(end - call.created_at), call.ended_at is not None)


def _ms(length: timedelta) -> int:
    return max(0, length // timedelta(milliseconds=1))
