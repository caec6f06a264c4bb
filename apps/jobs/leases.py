"""Leases of the calls that this worker process makes: renewed for all of them in one UPDATE.

A worker that dies stops renewing, and the sweeper gives its calls to others.
"""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, transaction

from apps.core import clock
from apps.core.db import is_postgresql, release_connection
from apps.core.processes import of_this_process, run_in_background
from apps.jobs.models import Call

log = logging.getLogger("saasllm.leases")
_lock = threading.Lock()
_kept: dict[Any, int] = {}


def worker_name() -> str:
    """This process's name on claims."""
    return of_this_process("worker name", lambda: f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}")


@contextmanager
def kept(call_id: Any) -> Iterator[None]:
    """Renew this call's lease every third of it until the block ends."""
    _ensure_renewer()
    with _lock:
        _kept[call_id] = _kept.get(call_id, 0) + 1
    try:
        yield
    finally:
        with _lock:
            _kept[call_id] -= 1
            if not _kept[call_id]:
                del _kept[call_id]


def renew() -> int:
    """Renew the leases of this process's calls. Returns how many still were ours."""
    with _lock:
        ids = list(_kept)
    if not ids:
        return 0
    with transaction.atomic():
        # In one order, and without waiting for a call that is being settled just now: it needs no lease any more.
        ours = Call.objects.filter(pk__in=ids, state=Call.State.RUNNING, claimed_by=worker_name())
        locked = list(ours.select_for_update(skip_locked=is_postgresql()).order_by("pk").values_list("pk", flat=True))
        return Call.objects.filter(pk__in=locked).update(lease_until=clock.from_now(settings.CALL_LEASE_S))


def _ensure_renewer() -> None:
    run_in_background("leases", _renew_forever)


def _renew_forever() -> None:
    pause = threading.Event()
    while True:
        pause.wait(settings.CALL_LEASE_S / 3)
        try:
            renew()
        except (DatabaseError, InterfaceError) as error:
            log.warning("renewing leases failed: %s", type(error).__name__)
        finally:
            release_connection()
