"""The demo provider: a route that answers without any model, for `make demo` and people's own tests.

Deterministic and honest about tokens (it counts its own words). It says that it is a demo; it is never reached
outside embedded mode, since nobody may be sold demo answers. docs/demo-provider.md says what it can.
"""

import hashlib
import re
import time
from array import array
from collections.abc import Iterator
from typing import Any

import orjson

from apps.jobs.gateway import failures
from apps.jobs.gateway.demo_answers import Answer, answer_to, called_by, text_of
from apps.jobs.gateway.interface import (
    Chunk,
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    GatewayError,
    Usage,
)
from apps.jobs.gateway.openai_wire import chunks_of

_WORD = re.compile(r"\w+|[^\w\s]")
# A word with the space after it: together they are the text again.
_PIECE = re.compile(r"\s*\S+\s*|\s+")
_SLOW_S = 2.0
_DIMENSIONS = 256
_MAX_DIMENSIONS = 4096


class DemoProvider:
    """Answers from a handful of rules, and fails as the model's name asks."""

    def complete(self, request: CompletionRequest, *, timeout_s: float) -> Completion:
        """See `Gateway`. `max_tokens` cuts the answer and sets the finish reason, as a model would."""
        is_cut = _behave(request.provider_model, timeout_s)
        completion = _completion(request)
        if is_cut:
            raise failures.broken_off()
        return completion

    def stream(self, request: CompletionRequest, *, timeout_s: float) -> Iterator[Chunk]:
        """See `Gateway`. Word by word, the same text that `complete` gives."""
        is_cut = _behave(request.provider_model, timeout_s)
        chunks = list(chunks_of(_completion(request), split=_PIECE.findall))
        if is_cut:
            # At least the beginning, never the finish reason.
            yield from chunks[: max(1, len(chunks) // 2 - 1)]
            raise failures.broken_off()
        yield from chunks

    def embed(self, request: EmbeddingRequest, *, timeout_s: float) -> Embeddings:
        """See `Gateway`. A vector depends on its text and the number of dimensions alone."""
        if _behave(request.provider_model, timeout_s):
            raise failures.broken_off()
        dimensions = request.options.get("dimensions") or _DIMENSIONS
        if not isinstance(dimensions, int) or not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise failures.rejected()
        tokens = sum(count_tokens(text) if isinstance(text, str) else len(text) for text in request.input)
        return Embeddings(
            vectors=[_unit_vector(text, dimensions) for text in request.input],
            resolved_model=request.provider_model,
            usage=Usage(tokens, 0),
        )


def count_tokens(text: str) -> int:
    """Words and punctuation marks: what this provider calls a token."""
    return len(_WORD.findall(text))


def _behave(provider_model: str, timeout_s: float) -> bool:
    """Wait or fail as the model's name asks. Whether the answer is to break off. Raises: GatewayError."""
    name = provider_model.rsplit("/", 1)[-1]
    if name == "demo-cut":
        return True
    if name == "demo-timeout":
        time.sleep(min(_SLOW_S, timeout_s))
        raise failures.timed_out()
    kind, _, figure = name.rpartition("-")
    if name == "demo-slow" or kind == "demo-slow":
        if name != "demo-slow" and not (figure.isdecimal() and len(figure) < 10):
            raise failures.misconfigured()
        wait_s = _SLOW_S if name == "demo-slow" else int(figure) / 1000
        time.sleep(min(wait_s, timeout_s))
        if wait_s >= timeout_s:
            raise failures.timed_out()
    elif kind == "demo-error":
        raise _error(figure)
    return False


def _error(status: str) -> GatewayError:
    # A misspelt fault must not pass as another one.
    return failures.by_status(int(status), "") if status in ("400", "429", "500", "503") else failures.misconfigured()


def _completion(request: CompletionRequest) -> Completion:
    body = request.body
    digest = hashlib.sha256(repr(body).encode()).hexdigest()
    answer, completion_tokens = _capped(answer_to(body), body.get("max_tokens") or body.get("max_completion_tokens"))
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": f"call_demo_{digest[:16]}_{number}",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            for number, (name, arguments) in enumerate(answer.calls)
        ]
    choices = [
        {"index": index, "message": message, "finish_reason": answer.finish_reason}
        for index in range(body.get("n") or 1)
    ]
    return Completion(
        provider_id=f"chatcmpl-demo-{digest[:24]}",
        created=int(time.time()),
        resolved_model=request.provider_model,
        choices=choices,
        usage=Usage(_prompt_tokens(body), completion_tokens * len(choices)),
    )


def _capped(answer: Answer, cap: int | None) -> tuple[Answer, int]:
    """The answer, cut to so many tokens, and how many it has."""
    left = None if cap is None else max(cap, 1)
    parts = [answer.text, *(part for call in answer.calls for part in call)]
    cut: list[str] = []
    count = 0
    for part in parts:
        ends = [match.end() for match in _WORD.finditer(part)]
        if left is not None and count + len(ends) > left:
            part = part[: ends[left - count - 1]] if left > count else ""
            ends = ends[: left - count]
        count += len(ends)
        cut.append(part)
    if cut == parts:
        return answer, count
    # A call whose very name was cut off is none.
    calls = [(name, arguments) for name, arguments in zip(cut[1::2], cut[2::2], strict=True) if name]
    return Answer(text=cut[0], calls=calls, finish_reason="length"), count


def _prompt_tokens(body: dict[str, Any]) -> int:
    """What is read of a request: texts, calls and their results, tools, the schema of the answer."""
    tokens = sum(count_tokens(text_of(message)) for message in body["messages"])
    for message in body["messages"]:
        tokens += sum(count_tokens(part) for call in called_by(message) for part in call)
    for name in ("tools", "response_format"):
        if body.get(name):
            tokens += count_tokens(orjson.dumps(body[name]).decode())
    return tokens


def _unit_vector(text: object, dimensions: int) -> list[float]:
    seed = text.encode(errors="replace") if isinstance(text, str) else orjson.dumps(text)
    numbers = array("H", hashlib.shake_256(seed).digest(2 * dimensions))
    # Never 0, so that there is a length to divide by.
    centred = [number - 32767.5 for number in numbers]
    length = sum(value * value for value in centred) ** 0.5
    return [value / length for value in centred]
