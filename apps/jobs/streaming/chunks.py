"""A stream spelled as OpenAI's chunks: what the edges that speak them have in common."""

from collections.abc import Iterator
from typing import Any

import orjson

from apps.jobs.models import Call
from apps.jobs.streaming.reading import End


def event(data: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


class ChunkWriter:
    """Writes the pieces of one call; how it ends is the edge's own."""

    object = "chat.completion.chunk"

    def __init__(self, call: Call) -> None:
        self.head: dict[str, Any] = {
            "id": completion_id(call),
            "object": self.object,
            "created": int(call.created_at.timestamp()),
            # The name that was asked for: never the provider's.
            "model": call.model_group_used,
        }

    def delta(self, choices: list[dict[str, Any]]) -> bytes:
        """A piece."""
        return event(self.head | {"choices": choices})

    def end(self, end: End) -> Iterator[bytes]:
        """What comes last, before `[DONE]`."""
        raise NotImplementedError

    def error(self, message: str) -> bytes:
        """That the stream cannot go on."""
        raise NotImplementedError


def completion_id(call: Call) -> str:
    """An answer's id, the same streamed or whole: never the provider's, whose form tells whose it is."""
    return f"chatcmpl-{call.pk.hex}"


def usage(call: Call) -> dict[str, int]:
    """A call's tokens, as OpenAI names them."""
    return {
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
        "total_tokens": call.total_tokens,
    }
