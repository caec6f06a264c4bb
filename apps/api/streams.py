"""Streamed LLM calls: llm-call-stream and create-and-call-stream. What goes wrong before the first piece is an
ordinary JSON error; afterwards it is an event, and `[DONE]` comes last in any case."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.http import StreamingHttpResponse
from rest_framework.request import Request

from apps.api import present
from apps.api.calls import CallView, CreateAndCallInput, LlmCallInput
from apps.api.parsing import parse
from apps.credits import billing
from apps.jobs import escrow, services, waiting
from apps.jobs.models import Call
from apps.jobs.streaming.body import opened, response
from apps.jobs.streaming.chunks import ChunkWriter, event, usage
from apps.jobs.streaming.reading import End


class Writer(ChunkWriter):
    """OpenAI's chunks; an error is a text."""

    def end(self, end: End) -> Iterator[bytes]:
        call = end.call
        if call.state != Call.State.SUCCEEDED:
            yield self.error(waiting.failure(call).message)
        elif not end.is_whole:
            url = f"/api/jobs/{call.job_id}/calls/{call.pk}"
            yield self.error(f"The stream was interrupted. The whole answer is at {url}.")
        else:
            yield event(self.head | {"choices": end.choices, "usage": usage(call)} | self.more(call))

    def more(self, call: Call) -> dict[str, Any]:
        """What the last chunk says beside OpenAI's keys."""
        return {"escrow": escrow.of_call(call)}

    def error(self, message: str) -> bytes:
        return event({"error": message})


class WriterWithCosts(Writer):
    """The same, and in the last chunk what the job came to."""

    def more(self, call: Call) -> dict[str, Any]:
        team = call.job.team
        figures = present.costs(call.job, billing.balance(team), show_costs=billing.shows_costs(team))
        return {"costs": figures, **super().more(call)}


class LlmCallStream(CallView):
    """POST /api/jobs/{job_id}/llm-call-stream"""

    def post(self, request: Request, job_id: str) -> StreamingHttpResponse:
        body = parse(LlmCallInput, request)
        asked = self.request_of(body, request, call_metadata=body.call_metadata, is_streamed=True)
        return response(
            request._request,
            opened(
                self.principal.team,
                submit=lambda reply_to: services.submit_call(
                    self.principal,
                    asked,
                    job_id=job_id,
                    wait_s=settings.CALL_WAIT_MAX_S,
                    reply_to=reply_to,
                    idempotent=self.idempotent(request),
                ),
                writer_for=Writer,
            ),
        )


class CreateAndCallStream(CallView):
    """POST /api/jobs/create-and-call-stream"""

    def post(self, request: Request) -> StreamingHttpResponse:
        body = parse(CreateAndCallInput, request)
        self.require_own_team(body.team_id)
        asked = self.request_of(body, request, is_streamed=True)
        return response(
            request._request,
            opened(
                self.principal.team,
                submit=lambda reply_to: services.submit_one_call_job(
                    self.principal,
                    services.NewJob(body.job_type, body.user_id or "", body.job_metadata or {}, body.budget()),
                    asked,
                    wait_s=settings.CALL_WAIT_MAX_S,
                    reply_to=reply_to,
                    idempotent=self.idempotent(request),
                ),
                writer_for=WriterWithCosts,
                with_job=True,
            ),
        )
