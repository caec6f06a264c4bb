"""How the fake provider's model `fake-able` answers: as a model does that calls tools, fills schemas, tells logprobs.

Depends on the request alone. Each answer has fields that would name its provider (`CANARY_FIELD` and a fingerprint):
no customer may ever see them.
"""

import json
from typing import Any

from apps.jobs.gateway.demo_values import value_for
from tests.harness import faults
from tests.harness.faults import Answer

# Asked this, it answers with the parameters that reached it, as JSON.
WHAT_WERE_YOU_SENT = "What were you sent?"
CANARY_FIELD = "canary_vendor_field"
CANARY_FINGERPRINT = "fp_canary_vendor"
# Not told: whose request it was, and the conversation itself.
_UNTOLD = frozenset({"model", "messages", "user", "stream", "stream_options"})


def able(request: dict[str, Any], *, number: int) -> Answer:
    """A chat completion; `number` makes its ids unique."""
    calls = [
        {
            "id": f"call_{number}_{position}",
            "type": "function",
            "function": {"name": name, "arguments": arguments, CANARY_FIELD: 1},
            CANARY_FIELD: 1,
        }
        for position, (name, arguments) in enumerate(_calls(request))
    ]
    text, finish_reason = (None, "tool_calls") if calls else faults.capped(request, _text(request))
    message: dict[str, Any] = {"role": "assistant", "content": text, CANARY_FIELD: "whose model this is"}
    if calls:
        message["tool_calls"] = calls
    choice: dict[str, Any] = {"message": message, "finish_reason": finish_reason}
    if request.get("logprobs") and text is not None:
        choice["logprobs"] = _logprobs(text, request.get("top_logprobs") or 0)
    said = text or "".join(call["function"]["arguments"] for call in calls)
    return faults.completed(
        request,
        number=number,
        choices=[{"index": index, **choice} for index in range(request.get("n") or 1)],
        tokens=faults.count_tokens(said),
        system_fingerprint=CANARY_FINGERPRINT,
    )


def _calls(request: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and arguments of the functions to call: the one that `tool_choice` names, else those that the question
    does, the first alone without `parallel_tool_calls`."""
    functions = [tool["function"] for tool in request.get("tools") or []]
    choice = request.get("tool_choice") or "auto"
    if not functions or choice == "none" or request["messages"][-1]["role"] == "tool":
        return []
    if isinstance(choice, dict):
        functions = [each for each in functions if each["name"] == choice["function"]["name"]]
    elif choice == "required":
        functions = functions[:1]
    else:
        asked = _asked(request)
        functions = [each for each in functions if each["name"] in asked]
    if request.get("parallel_tool_calls") is False:
        functions = functions[:1]
    return [(each["name"], json.dumps(value_for(each.get("parameters") or {"type": "object"}))) for each in functions]


def _text(request: dict[str, Any]) -> str:
    wanted = request.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return json.dumps(value_for(wanted["json_schema"]["schema"]))
    last = request["messages"][-1]
    if last["role"] == "tool":
        text = f"The tool answered: {last['content']}"
    elif _asked(request) == WHAT_WERE_YOU_SENT:
        return json.dumps({name: value for name, value in request.items() if name not in _UNTOLD})
    else:
        text = f"You asked: {_asked(request)}"
    if wanted.get("type") == "json_object":
        return json.dumps({"answer": text})
    stops = request.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.split(stop)[0]
    return text


def _asked(request: dict[str, Any]) -> str:
    content = next(message["content"] for message in reversed(request["messages"]) if message["role"] == "user")
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def _logprobs(text: str, alternatives: int) -> dict[str, Any]:
    def token(word: str, logprob: float) -> dict[str, Any]:
        return {"token": word, "logprob": logprob, "bytes": list(word.encode())}

    return {
        "content": [
            token(word, -0.25)
            | {"top_logprobs": [token(word, -0.25), *(token(f"{word}{n}", -2.0 - n) for n in range(1, alternatives))]}
            if alternatives
            else token(word, -0.25) | {"top_logprobs": []}
            for word in faults.words(text)
        ],
        "refusal": None,
    }
