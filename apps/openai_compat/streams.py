"""Streamed answers under /v1: OpenAI's chunks, with cost and balance in the last one."""

from collections.abc import Iterator
from typing import Any

from apps.core.errors import Unavailable
from apps.core.money import exact_credits
from apps.credits import billing
from apps.jobs import escrow, waiting
from apps.jobs.models import Call
from apps.jobs.streaming.chunks import ChunkWriter, event, usage
from apps.jobs.streaming.reading import End
from apps.openai_compat import errors


class Interrupted(Unavailable):
    """Raised in a stream when what was sent cannot be completed."""

    code = "stream_interrupted"


class ChatWriter(ChunkWriter):
    """Chunks of a chat completion. `includes_usage` is OpenAI's stream_options.include_usage."""

    def __init__(self, call: Call, *, includes_usage: bool) -> None:
        super().__init__(call)
        self._includes_usage = includes_usage

    def end(self, end: End) -> Iterator[bytes]:
        call = end.call
        if call.state != Call.State.SUCCEEDED:
            yield event(errors.described(waiting.failure(call)))
        elif not end.is_whole:
            interrupted = Interrupted("The stream was interrupted. Send the request again for the whole answer.")
            yield event(errors.described(interrupted))
        else:
            last = self.head | {"choices": self.choices(end.choices)}
            if self._includes_usage:
                yield event(last | {"usage": None})
                last = self.head | {"choices": [], "usage": usage(call)}
            yield event(last | {"saasllm": self._account(call)})

    def choices(self, choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Choices in the endpoint's shape."""
        return choices

    def error(self, message: str) -> bytes:
        return event(errors.described(Unavailable(message)))

    def _account(self, call: Call) -> dict[str, Any]:
        balance = billing.balance(call.job.team)
        remaining = escrow.remaining_micros(call.job)
        return {
            "job_id": str(call.job_id),
            "call_id": str(call.pk),
            "credits_charged": exact_credits(call.job.charged_micros),
            "credits_remaining": exact_credits(balance.spendable_micros),
        } | ({} if remaining is None else {"escrow_remaining": exact_credits(remaining)})


class CompletionWriter(ChatWriter):
    """Chunks of a legacy completion."""

    object = "text_completion"

    def __init__(self, call: Call, *, includes_usage: bool) -> None:
        super().__init__(call, includes_usage=includes_usage)
        self.head["id"] = f"cmpl-{call.pk.hex}"

    def delta(self, choices: list[dict[str, Any]]) -> bytes:
        return event(self.head | {"choices": self.choices(choices)})

    def choices(self, choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                "text": choice["delta"].get("content", ""),
                "index": choice["index"],
                "logprobs": None,
                "finish_reason": choice["finish_reason"],
            }
            for choice in choices
        ]
