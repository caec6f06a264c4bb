"""The demo provider: a route that answers without any model, for `make demo` and people's own tests.

Deterministic and honest about tokens (it counts its own words). It says that it is a demo; it is never reached
outside embedded mode, since nobody may be sold demo answers.
"""

import hashlib
import re
import time

from apps.jobs.gateway.interface import Completion, CompletionRequest, Usage

_WORD = re.compile(r"\w+|[^\w\s]")
_TOPICS = {
    "python": "Python is a high-level, interpreted programming language known for readable code and a large library.",
    "fastapi": "FastAPI is a Python web framework for building APIs from type hints.",
    "flask": "Flask is a small, synchronous Python web framework; FastAPI adds typed input and async handlers.",
    "recursion": "Recursion is when a function calls itself on a smaller input until it reaches a base case.",
    "django": "Django is a Python web framework with an ORM, an admin site and everything a product needs.",
    "hello": "Hello! This is the demo provider speaking.",
}
_POSITIVE = frozenset(
    ["amazing", "love", "great", "good", "excellent", "happy", "wonderful", "perfect", "best", "fantastic"]
)
_NEGATIVE = frozenset(
    ["terrible", "bad", "awful", "hate", "worst", "poor", "not", "horrible", "disappointing", "broken"]
)


class DemoProvider:
    """Answers from a handful of rules."""

    def complete(self, request: CompletionRequest, *, timeout_s: float) -> Completion:
        """See `Gateway`. Never fails; `max_tokens` cuts the answer and sets the finish reason, as a model would."""
        messages = request.body["messages"]
        system = " ".join(_text(message) for message in messages if message.get("role") in ("system", "developer"))
        asked = next((_text(message) for message in reversed(messages) if message.get("role") == "user"), "")
        words = _answer(system, asked).split(" ")
        cap = request.body.get("max_tokens") or request.body.get("max_completion_tokens")
        finish = "stop"
        text = " ".join(words)
        while cap is not None and count_tokens(text) > max(cap, 1) and len(words) > 1:
            words.pop()
            text, finish = " ".join(words), "length"
        digest = hashlib.sha256(repr(request.body).encode()).hexdigest()
        choices = [
            {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
            for index in range(request.body.get("n") or 1)
        ]
        prompt = sum(count_tokens(_text(message)) for message in messages)
        return Completion(
            provider_id=f"chatcmpl-demo-{digest[:24]}",
            created=int(time.time()),
            resolved_model=request.provider_model,
            choices=choices,
            usage=Usage(prompt, count_tokens(text) * len(choices)),
        )


def count_tokens(text: str) -> int:
    """Words and punctuation marks: what this provider calls a token."""
    return len(_WORD.findall(text))


def _text(message: dict[str, object]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def _answer(system: str, asked: str) -> str:
    instruction = f"{system} {asked}".lower()
    if "classify" in instruction and "sentiment" in instruction:
        return _sentiment(asked)
    body = asked.split("\n\n", 1)[-1]
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+", " ".join(body.split())) if part.strip()]
    if "key points" in instruction or "bullet" in instruction:
        return "\n".join(f"- {sentence}" for sentence in sentences[:5]) or "- (nothing to extract)"
    if "summar" in instruction:
        return " ".join(sentences[:2]) or "(nothing to summarize)"
    for topic, text in _TOPICS.items():
        if topic in asked.lower():
            return f"{text} (Demo answer: set LITELLM_BASE_URL to reach real models.)"
    return f"You asked: {' '.join(asked.split())[:200]} (Demo answer: set LITELLM_BASE_URL to reach real models.)"


def _sentiment(text: str) -> str:
    found = {word.lower() for word in _WORD.findall(text)}
    if found & _POSITIVE:
        return "positive"
    # "It's okay, nothing special" is neither.
    return "negative" if found & _NEGATIVE else "neutral"
