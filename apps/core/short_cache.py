"""Answers kept for a moment: what is asked many times a second, and may be as old as that."""

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ShortCache(Generic[Value]):
    """Keeps values for `seconds` in this process, at most `size` of them. Failures are not kept."""

    def __init__(self, *, seconds: float, size: int = 10_000) -> None:
        self._seconds = seconds
        self._size = size
        self._kept: dict[Hashable, tuple[float, Value]] = {}

    def get(self, key: Hashable, load: Callable[[], Value]) -> Value:
        """The value of `key`, loaded when there is none or it is too old."""
        # Stamped before it is loaded: what changes meanwhile is seen `seconds` after this instant, not later.
        asked_at = time.monotonic()
        kept = self._kept.get(key)
        if kept is not None and asked_at - kept[0] < self._seconds:
            return kept[1]
        value = load()
        if len(self._kept) >= self._size:
            self._kept.clear()
        self._kept[key] = (asked_at, value)
        return value

    def clear(self) -> None:
        """Forget all, after a change made here."""
        self._kept.clear()
