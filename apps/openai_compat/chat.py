"""POST /v1/chat/completions"""

from typing import Any

import orjson
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from apps.core import bodies
from apps.jobs.models import Call
from apps.jobs.streaming.chunks import completion_id, usage
from apps.openai_compat.calls import CallView
from apps.openai_compat.errors import AnswerExpired
from apps.openai_compat.parameters import ChatParameters


class ChatCompletions(CallView):
    """POST /v1/chat/completions"""

    def post(self, request: HttpRequest) -> HttpResponseBase:
        parameters = bodies.parse(ChatParameters, request)
        parameters.require_supported()
        user = parameters.user or parameters.safety_identifier or ""
        return self.answer(
            request,
            parameters,
            parameters.body(),
            job_type="chat.completions",
            user=user,
            validates=bool(parameters.validates),
        )

    def present(self, call: Call) -> dict[str, Any]:
        stored = stored_answer(call)
        return {
            "id": completion_id(call),
            "object": "chat.completion",
            "created": stored["created"],
            "model": call.model_group_used,
            "choices": [_choice(choice) for choice in stored["choices"]],
            "usage": usage(call),
        }


def stored_answer(call: Call) -> dict[str, Any]:
    """What the provider said: created, choices. Raises: AnswerExpired past its retention."""
    payload = getattr(call, "payload", None)
    if payload is None or not payload.response:
        raise AnswerExpired(job_id=str(call.job_id), call_id=str(call.pk))
    stored: dict[str, Any] = orjson.loads(payload.response)
    return stored


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    """With every key that OpenAI always sends. Content is null beside tool calls alone, as there."""
    message = {"refusal": None, **choice["message"]}
    if not message.get("content") and message.get("tool_calls"):
        message["content"] = None
    return {"logprobs": None, **choice, "message": message}
