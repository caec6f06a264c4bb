"""How far this worker's streams are, saved every two seconds for all of them: what a dead worker's stream is settled
at. On the way it is learnt whose callers want no more."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, InterfaceError

from apps.core.db import release_connection
from apps.core.processes import run_in_background
from apps.jobs import statements
from apps.jobs.models import Call

EVERY_S = 2.0

log = logging.getLogger("saasllm.marks")


@dataclass(slots=True, eq=False)
class Progress:
    """A stream that this worker makes. `is_cancelled`: its caller left and wants no more."""

    call_id: Any
    claim: int
    delivered_bytes: int = 0
    is_cancelled: bool = False
    _saved_bytes: int = 0

    def save_first(self) -> None:
        """Save that something was sent on, at once: from here on nobody else may begin this answer anew."""
        try:
            _save([self])
        except (DatabaseError, InterfaceError) as error:
            # The next round saves it.
            log.warning("saving a stream's progress failed: %s", type(error).__name__)
        finally:
            release_connection()


_kept: set[Progress] = set()
_lock = threading.Lock()


@contextmanager
def kept(progress: Progress) -> Iterator[Progress]:
    """Save this stream's progress now and then until the block ends."""
    _ensure_saver()
    with _lock:
        _kept.add(progress)
    try:
        yield progress
    finally:
        with _lock:
            _kept.discard(progress)


def save() -> None:
    """One round: save what has changed, and ask whose callers want no more."""
    with _lock:
        streams = list(_kept)
    if not streams:
        return
    _save([stream for stream in streams if stream.delivered_bytes != stream._saved_bytes])
    by_call = {stream.call_id: stream for stream in streams}
    unwanted = Call.objects.filter(pk__in=list(by_call), cancel_requested_at__isnull=False)
    for call_id in unwanted.values_list("pk", flat=True):
        by_call[call_id].is_cancelled = True


def _save(streams: list[Progress]) -> None:
    if not streams:
        return
    rows = [{"call": each.call_id, "claim": each.claim, "delivered_bytes": each.delivered_bytes} for each in streams]
    saved = statements.mark(rows)
    for each, row in zip(streams, rows, strict=True):
        # What was left out is saved in the next round.
        if (each.call_id, each.claim) in saved:
            each._saved_bytes = row["delivered_bytes"]


def _ensure_saver() -> None:
    run_in_background("marks", _save_forever)


def _save_forever() -> None:
    pause = threading.Event()
    while True:
        pause.wait(EVERY_S)
        try:
            save()
        except (DatabaseError, InterfaceError) as error:
            log.warning("saving streams' progress failed: %s", type(error).__name__)
        finally:
            release_connection()
