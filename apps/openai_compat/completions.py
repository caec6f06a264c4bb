"""POST /v1/completions, the legacy endpoint: its prompt is asked as a chat of one message."""

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from apps.core import bodies
from apps.jobs.models import Call
from apps.jobs.streaming.chunks import usage
from apps.openai_compat.calls import CallView
from apps.openai_compat.chat import stored_answer
from apps.openai_compat.parameters import CompletionParameters
from apps.openai_compat.streams import CompletionWriter


class Completions(CallView):
    """POST /v1/completions"""

    writer = CompletionWriter

    def post(self, request: HttpRequest) -> HttpResponseBase:
        parameters = bodies.parse(CompletionParameters, request)
        parameters.require_supported()
        return self.answer(request, parameters, parameters.body(), job_type="completions", user=parameters.user or "")

    def present(self, call: Call) -> dict[str, Any]:
        stored = stored_answer(call)
        choices = [
            {
                "text": choice["message"].get("content") or "",
                "index": choice["index"],
                "logprobs": None,
                "finish_reason": choice["finish_reason"],
            }
            for choice in stored["choices"]
        ]
        return {
            "id": f"cmpl-{call.pk.hex}",
            "object": "text_completion",
            "created": stored["created"],
            "model": call.model_group_used,
            "choices": choices,
            "usage": usage(call),
        }
