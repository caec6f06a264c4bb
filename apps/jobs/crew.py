"""The threads with which a worker process makes calls, and how many calls it makes at once.

One message of Celery's may name several calls; its own thread waits until all of them are done, so that a message is
acknowledged, and a worker stops, when its calls have ended.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from django.conf import settings

from apps.core import processes
from apps.core.db import release_connection

T = TypeVar("T")


class Crew:
    """So many places, and threads for those who have one."""

    def __init__(self, places: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=places, thread_name_prefix="call")
        self._free = places
        self._changed = threading.Condition()

    def take(self, most: int) -> int:
        """Take up to so many places. Waits for the first one."""
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0)
            taken = min(most, self._free)
            self._free -= taken
            return taken

    def give_back(self, count: int) -> None:
        """Give places back that were taken."""
        if count:
            with self._changed:
                self._free += count
                self._changed.notify(count)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Give one place back at the end."""
        try:
            yield
        finally:
            self.give_back(1)

    def run(self, work: Callable[[T], None], about: T) -> "Future[None]":
        """Do `work` in a thread, in a place that was taken and is given back afterwards."""
        return self._pool.submit(self._in_place, work, about)

    def _in_place(self, work: Callable[[T], None], about: T) -> None:
        with self.place():
            try:
                work(about)
            finally:
                release_connection()


def of_this_process() -> Crew:
    """This process's crew of WORKER_CALLS_MAX places."""
    return processes.of_this_process("crew", lambda: Crew(settings.WORKER_CALLS_MAX))
