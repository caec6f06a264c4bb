"""What a process has one of: made at first use, so never before a server forks; a forked child makes its own."""

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

# A `models.Process` that has not said for this long that it lives has died; of a web process the callers are gone.
DEAD_AFTER_S = 20.0

T = TypeVar("T")

_made: dict[tuple[int, str], Any] = {}
_lock = threading.Lock()


def of_this_process(name: str, make: Callable[[], T]) -> T:
    """This process's object of that name."""
    key = (os.getpid(), name)
    found = _made.get(key)
    if found is None:
        with _lock:
            found = _made.get(key)
            if found is None:
                found = _made[key] = make()
    made: T = found
    return made


def run_in_background(name: str, target: Callable[[], None]) -> None:
    """Run `target`, which does not end, in a thread of this process, unless it runs already."""

    def started() -> threading.Thread:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread

    of_this_process(f"thread {name}", started)
