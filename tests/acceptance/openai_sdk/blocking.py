"""OpenAI's asynchronous client with the face of the synchronous one, so that the same checks run through both."""

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

# Where the client's objects are from whose methods and attributes may have to be awaited in turn.
_GIVES_MORE = ("openai.resources", "openai._response", "openai._legacy_response")


class Blocking:
    """Whatever the client gives, awaited where it must be, in a loop of its own."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return self._plain(getattr(self._target, name))

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._plain(self._target(*arguments, **keywords))

    def __iter__(self) -> Iterator[Any]:
        pieces = self._target.__aiter__()
        while True:
            try:
                yield self._loop.run_until_complete(anext(pieces))
            except StopAsyncIteration:
                return

    def __enter__(self) -> Any:
        return self._plain(self._loop.run_until_complete(self._target.__aenter__()))

    def __exit__(self, *what: object) -> None:
        self._loop.run_until_complete(self._target.__aexit__(*what))

    def _plain(self, value: Any) -> Any:
        if hasattr(value, "__aiter__") or hasattr(value, "__aenter__"):
            return Blocking(value, self._loop)
        if inspect.isawaitable(value):
            return self._plain(self._loop.run_until_complete(value))
        if callable(value) or type(value).__module__.startswith(_GIVES_MORE):
            return Blocking(value, self._loop)
        return value
