"""Publishing call ids to workers. A hint only: a publish never raises, and an unpublished call stays due.

By task name, so that nothing here imports the task's code.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import kombu.exceptions
import redis.exceptions
from celery import current_app
from django.conf import settings

from apps.core.combining import Combiner

RUN_CALLS = "jobs.run_calls"
# Calls in one message: all of them go to one worker.
GROUP_MOST = 8
# After a failure nobody tries for this long: a Redis that accepts and never answers would otherwise block every
# web thread for a timeout each.
SKIP_AFTER_FAILURE_S = 1.0

log = logging.getLogger("saasllm.dispatch")
_lock = threading.Lock()
_skip_until = 0.0
_is_embedded_running = False


def embedded_is_running() -> None:
    """Say that this process has the embedded worker, so that publishing here reaches somebody."""
    global _is_embedded_running
    _is_embedded_running = True


def publish(call_ids: Sequence[Any]) -> int:
    """Tell workers that these calls are due. Returns how many were published; the rest wait for the sweeper."""
    global _skip_until
    if not _reaches_a_worker():
        return 0
    published = 0
    for first in range(0, len(call_ids), GROUP_MOST):
        if time.monotonic() < _skip_until:
            break
        group = [str(call_id) for call_id in call_ids[first : first + GROUP_MOST]]
        try:
            current_app.send_task(RUN_CALLS, args=[group], retry=False)
        except (kombu.exceptions.KombuError, redis.exceptions.RedisError, OSError) as error:
            with _lock:
                _skip_until = time.monotonic() + SKIP_AFTER_FAILURE_S
            log.warning("publish failed, the sweeper will repeat it: %s", type(error).__name__)
            break
        published += len(group)
    return published


def _publish_group(call_ids: Sequence[Any]) -> list[None]:
    publish(call_ids)
    return [None] * len(call_ids)


_together: Combiner[Any, None] = Combiner(_publish_group, most=GROUP_MOST)


def publish_new(call_id: Any) -> None:
    """Tell workers of a call that was admitted just now, in one message with what other threads publish."""
    _together(call_id)


def _reaches_a_worker() -> bool:
    """An in-memory broker reaches only the process that it is in."""
    return _is_embedded_running or not str(settings.CELERY_BROKER_URL).startswith("memory:")
