"""Answers kept for a moment: what is asked many times a second, and may be as old as that."""

import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

from django.db import transaction
from django.db.models import Model
from django.db.models.signals import post_delete, post_save

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


def forget_on_change(forget: Callable[[], None], models: Iterable[type[Model]]) -> None:
    """Have what is kept of these models forgotten when a row of theirs changes here: for what follows in its
    transaction, and again once others can see it."""

    def changed(**_: Any) -> None:
        forget()
        transaction.on_commit(forget)

    for model in models:
        for signal in (post_save, post_delete):
            signal.connect(changed, sender=model, weak=False)
