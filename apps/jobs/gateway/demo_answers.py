"""What the demo provider says: texts by topic, calls of tools, answers of a wanted shape."""

import re
from dataclasses import dataclass, field
from typing import Any

import orjson

from apps.jobs.gateway import failures
from apps.jobs.gateway.demo_values import value_for

_WORD = re.compile(r"\w+")
_HINT = "(Demo answer: set LITELLM_BASE_URL to reach real models.)"
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


@dataclass(frozen=True, slots=True)
class Answer:
    """A text, or calls of tools: names with their arguments as JSON."""

    text: str
    calls: list[tuple[str, str]] = field(default_factory=list)
    finish_reason: str = "stop"


def answer_to(body: dict[str, Any]) -> Answer:
    """The answer to a request, the same for the same. Raises: GatewayError if a schema is too large to answer."""
    messages = body["messages"]
    asked = next((text_of(message) for message in reversed(messages) if message.get("role") == "user"), "")
    last = messages[-1] if messages else {}
    if last.get("role") != "tool" and (tools := _wanted_tools(body, asked)):
        calls = [(tool["name"], _json(value_for(tool.get("parameters") or {"type": "object"}))) for tool in tools]
        return Answer(text="", calls=calls, finish_reason="tool_calls")
    wanted = _part(body, "response_format")
    if wanted.get("type") == "json_schema":
        return Answer(text=_json(value_for(_part(wanted, "json_schema").get("schema") or {"type": "object"})))
    if last.get("role") == "tool":
        text = f"The tool answered: {' '.join(text_of(last).split())[:200]} {_HINT}"
    else:
        system = " ".join(text_of(message) for message in messages if message.get("role") in ("system", "developer"))
        text = _text(system, asked)
    return Answer(text=_json({"answer": text}) if wanted.get("type") == "json_object" else text)


def text_of(message: dict[str, Any]) -> str:
    """The text of a message, also of one made of parts."""
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def called_by(message: dict[str, Any]) -> list[tuple[str, str]]:
    """The calls of tools in a message of the assistant: names and arguments."""
    calls = message.get("tool_calls")
    functions = [_part(call, "function") for call in calls] if isinstance(calls, list) else []
    return [(str(function.get("name", "")), str(function.get("arguments", ""))) for function in functions]


def _wanted_tools(body: dict[str, Any], asked: str) -> list[dict[str, Any]]:
    """The functions to call: the one that `tool_choice` names, else those that the question does."""
    tools = [_part(tool, "function") for tool in body.get("tools") or []]
    tools = [tool for tool in tools if isinstance(tool.get("name"), str) and tool["name"]]
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        return [tool for tool in tools if tool["name"] == _part(choice, "function").get("name")][:1]
    if choice == "none":
        return []
    asked = asked.lower()
    mentioned = [
        tool for tool in tools if tool["name"].lower() in asked or tool["name"].lower().replace("_", " ") in asked
    ]
    if choice == "required" and not mentioned:
        mentioned = tools
    return mentioned[:1] if body.get("parallel_tool_calls") is False or choice == "required" else mentioned


def _part(whole: object, name: str) -> dict[str, Any]:
    part = whole.get(name) if isinstance(whole, dict) else None
    return part if isinstance(part, dict) else {}


def _json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        # A whole number of more than 64 bits: the schema's own.
        raise failures.rejected() from None


def _text(system: str, asked: str) -> str:
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
            return f"{text} {_HINT}"
    return f"You asked: {' '.join(asked.split())[:200]} {_HINT}"


def _sentiment(text: str) -> str:
    found = {word.lower() for word in _WORD.findall(text)}
    if found & _POSITIVE:
        return "positive"
    # "It's okay, nothing special" is neither.
    return "negative" if found & _NEGATIVE else "neutral"
