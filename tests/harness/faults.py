"""How the fake provider answers: honestly, or in one of the ways in which providers are known to fail.

Invariant: texts and token counts depend on the request alone. Each error text holds a canary secret and a canary
host, which must never reach a client, a log or a database column that is not meant for them.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

# Of the first answer; each execution's is a second later.
FIRST_CREATED = 1_700_000_000
CANARY_SECRET = "sk-canary-7f3d9a51c0e84b26"
CANARY_HOST = "canary-upstream.internal"

NANOUSD_PER_PROMPT_TOKEN = 150
NANOUSD_PER_COMPLETION_TOKEN = 600
ABSURD_TOKENS = 10**15
RETRY_AFTER_S = 1
# Few, so that a vector costs next to nothing.
DIMENSIONS = 8
_WORD = re.compile(r"\s*\S+")


class Ending(Enum):
    """What happens to the connection once the answer's bytes are due."""

    WHOLE = "whole"
    # Half of the announced body, then a TCP reset.
    RESET = "reset"
    # Half of the announced body, then an orderly close.
    SHORT = "short"


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes of one answer, what the provider bills for it, and whether it lets a correct client fail."""

    outcome: str
    status: int
    body: bytes
    prompt_tokens: int = 0
    completion_tokens: int = 0
    content_type: str = "application/json"
    retry_after_s: int | None = None
    ending: Ending = Ending.WHOLE
    may_fail: bool = False

    @property
    def nanousd(self) -> int:
        return self.prompt_tokens * NANOUSD_PER_PROMPT_TOKEN + self.completion_tokens * NANOUSD_PER_COMPLETION_TOKEN


def count_tokens(text: str) -> int:
    """Four bytes a token, rounded up: any fixed rule is an honest count as long as it is the only one."""
    return (len(text.encode()) + 3) // 4


def words(text: str) -> list[str]:
    """The text in pieces of a word each."""
    found = _WORD.findall(text)
    rest = text[sum(map(len, found)) :]
    return [*found, rest] if rest else found


def honest(request: dict[str, Any], *, number: int) -> Answer:
    """A chat completion; `number` makes its id unique."""
    text, finish_reason = _text(request)
    return _completed(request, number=number, message={"content": text}, text=text, finish_reason=finish_reason)


def tools(request: dict[str, Any], *, number: int) -> Answer:
    """A call of the first tool that was offered, and no text."""
    offered = request.get("tools") or [{"type": "function", "function": {"name": "lookup"}}]
    arguments = json.dumps({"query": _last_words(request)})
    call = {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": offered[0]["function"]["name"], "arguments": arguments},
    }
    message = {"content": None, "tool_calls": [call]}
    return _completed(request, number=number, message=message, text=arguments, finish_reason="tool_calls")


def embeddings(request: dict[str, Any], *, number: int) -> Answer:
    """A vector for each input: numbers from a hash of it, `dimensions` of them."""
    inputs = request.get("input")
    if not isinstance(inputs, list) or (inputs and isinstance(inputs[0], int)):
        inputs = [inputs]
    size = int(request.get("dimensions") or DIMENSIONS)
    tokens = sum(count_tokens(text) if isinstance(text, str) else len(text or []) for text in inputs)
    vectors = [[byte / 255 for byte in hashlib.shake_256(repr(text).encode()).digest(size)] for text in inputs]
    body = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)
        ],
        "model": request["model"],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Answer(outcome="answered", status=200, body=json.dumps(body).encode(), prompt_tokens=tokens)


def error(outcome: str, *, status: int, kind: str, code: str | None = None, **more: Any) -> Answer:
    """An error in OpenAI's shape. Not billed."""
    message = f"{outcome}: key {CANARY_SECRET} was refused by https://{CANARY_HOST}/v1/chat/completions"
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Answer(outcome=outcome, status=status, body=json.dumps(body).encode(), may_fail=True, **more)


def _completed(
    request: dict[str, Any], *, number: int, message: dict[str, Any], text: str, finish_reason: str
) -> Answer:
    choices = [
        {"index": index, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
        for index in range(max(1, int(request.get("n") or 1)))
    ]
    return completed(request, number=number, choices=choices, tokens=count_tokens(text))


def completed(
    request: dict[str, Any], *, number: int, choices: list[dict[str, Any]], tokens: int, **more: Any
) -> Answer:
    """A completion of these choices, of so many tokens each, and of more fields; `number` makes its id unique."""
    prompt_tokens = count_tokens("".join(_texts(request)))
    completion_tokens = tokens * len(choices)
    body = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        # The platform keeps this of an answer, so that it tells which execution was sold.
        "created": FIRST_CREATED + number,
        "model": request["model"],
        "choices": choices,
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
        **more,
    }
    return Answer(
        outcome="answered",
        status=200,
        body=json.dumps(body).encode(),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )


def _texts(request: dict[str, Any]) -> list[str]:
    contents = [message.get("content") for message in request.get("messages") or []]
    return [content if isinstance(content, str) else json.dumps(content) for content in contents if content]


def _last_words(request: dict[str, Any]) -> str:
    texts = _texts(request)
    return texts[-1][-200:] if texts else ""


def _text(request: dict[str, Any]) -> tuple[str, str]:
    return capped(request, f"Answer {len(request.get('messages') or [])} to: {_last_words(request)}")


def capped(request: dict[str, Any], text: str) -> tuple[str, str]:
    """The text, cut at the request's output cap, and why it ended."""
    cap_tokens = request.get("max_completion_tokens") or request.get("max_tokens")
    if cap_tokens is None or count_tokens(text) <= cap_tokens:
        return text, "stop"
    return text.encode()[: cap_tokens * 4].decode(errors="ignore"), "length"


def _with_usage(answer: Answer, *, outcome: str, usage: dict[str, Any] | None, may_fail: bool = False) -> Answer:
    body = json.loads(answer.body)
    del body["usage"]
    if usage is not None:
        body["usage"] = usage
    return replace(answer, outcome=outcome, body=json.dumps(body).encode(), may_fail=may_fail)


def _usage(tokens: float) -> dict[str, float]:
    return {"prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": 2 * tokens}


def _empty(answer: Answer) -> Answer:
    body = json.loads(answer.body)
    body |= {"choices": []} if "choices" in body else {"data": []}
    return replace(answer, outcome="empty", body=json.dumps(body).encode(), may_fail=True)


def broken(answer: Answer, *, outcome: str, **changes: Any) -> Answer:
    return replace(answer, outcome=outcome, may_fail=True, **changes)


# Each takes the honest answer to the same request. Those that change it keep its bill: the provider did the work.
FAULTS: dict[str, Callable[[Answer], Answer]] = {
    "400": lambda _: error("400", status=400, kind="invalid_request_error"),
    "401": lambda _: error("401", status=401, kind="invalid_request_error", code="invalid_api_key"),
    "429": lambda _: error("429", status=429, kind="rate_limit_error", retry_after_s=RETRY_AFTER_S),
    "500": lambda _: error("500", status=500, kind="server_error"),
    "200-error": lambda _: error("200-error", status=200, kind="server_error"),
    "content-filter": lambda _: error(
        "content-filter", status=400, kind="invalid_request_error", code="content_filter"
    ),
    "reset": lambda answer: broken(answer, outcome="reset", ending=Ending.RESET),
    "short-body": lambda answer: broken(answer, outcome="short-body", ending=Ending.SHORT),
    "malformed-json": lambda answer: broken(answer, outcome="malformed-json", body=b'{"id": nothing of the kind'),
    "truncated-json": lambda answer: broken(
        answer, outcome="truncated-json", body=answer.body[: len(answer.body) // 2]
    ),
    "wrong-type": lambda answer: broken(
        answer,
        outcome="wrong-type",
        content_type="text/html",
        body=f"<html><body>Welcome to {CANARY_HOST}</body></html>".encode(),
    ),
    "empty": _empty,
    "no-usage": lambda answer: _with_usage(answer, outcome="no-usage", usage=None),
    "negative-usage": lambda answer: _with_usage(answer, outcome="negative-usage", usage=_usage(-1000)),
    "absurd-usage": lambda answer: _with_usage(answer, outcome="absurd-usage", usage=_usage(ABSURD_TOKENS)),
    # NaN is not JSON: a strict parser may refuse the whole body.
    "nan-usage": lambda answer: _with_usage(answer, outcome="nan-usage", usage=_usage(float("nan")), may_fail=True),
}
