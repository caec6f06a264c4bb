"""A request under /v1 as a call: into the job it names, else a job of its own that its end completes and charges."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from apps.core import bodies, crypto, idempotency
from apps.core.errors import DomainError
from apps.core.money import exact_credits
from apps.credits import billing
from apps.jobs import escrow, replies, retries, services, waiting
from apps.jobs.models import Call
from apps.jobs.streaming.body import opened
from apps.jobs.streaming.body import response as streamed
from apps.openai_compat import errors
from apps.openai_compat.errors import InvalidParameter
from apps.openai_compat.parameters import Base, Parameters
from apps.openai_compat.streams import ChatWriter
from apps.openai_compat.views import KeyView, json_response

JOB_TYPE_MAX_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Where:
    """The job that a call goes into: one that is open, by its id, or a new one of this type."""

    job_id: str
    job_type: str
    # Of the job if it is new, else of the call: in the end they are the job's either way.
    metadata: dict[str, Any]


def where(request: HttpRequest, parameters: Base, *, job_type: str) -> Where:
    """What headers say of the job, else `metadata`, else `job_type`. Raises: InvalidParameter."""
    metadata = dict(parameters.metadata or {})
    said = {
        "job_id": _told(request, "X-Job-Id", metadata.pop("job_id", None), "metadata.job_id"),
        "job_type": _told(request, "X-Job-Type", metadata.pop("job_type", None), "metadata.job_type"),
    }
    return Where(said["job_id"], said["job_type"] or job_type, metadata)


def _told(request: HttpRequest, header: str, other: object, param: str) -> str:
    value, name = (request.headers[header], header) if header in request.headers else (other, param)
    if value is None:
        return ""
    if not isinstance(value, str) or not 1 <= len(value) <= JOB_TYPE_MAX_LENGTH or not value.isprintable():
        raise InvalidParameter(name, f"{name} must be a text of 1 to {JOB_TYPE_MAX_LENGTH} printable characters.")
    return value


class CallView(KeyView):
    """Admits a call and waits for it, within the places this process has for waiting callers."""

    writer: type[ChatWriter] = ChatWriter

    def answer(
        self,
        request: HttpRequest,
        parameters: Base,
        body: dict[str, Any],
        *,
        job_type: str,
        user: str = "",
        kind: Call.Kind = Call.Kind.CHAT,
        validates: bool = False,
    ) -> HttpResponseBase:
        """The call's answer by `present`, once there is one, or its stream. Its failure is answered here too.

        Raises: CallStillRunning, and whatever refuses the call.
        """
        streams = isinstance(parameters, Parameters) and bool(parameters.stream)
        wait_s = waiting.wanted_wait(request.META, default_s=settings.CALL_WAIT_MAX_S)
        place = where(request, parameters, job_type=job_type)
        # The path does not name the job here, so that the fingerprint has to.
        covered = crypto.fingerprint(
            bodies.fingerprint(request).encode(), place.job_id.encode(), place.job_type.encode()
        )
        idempotent = idempotency.requested(
            request.META, scope=f"team:{self.principal.team.team_id}", fingerprint=lambda: covered
        )
        wanted = services.CallRequest(
            body=body,
            # The credential is part of it: nobody is given an answer that another key asked for.
            fingerprint=retries.fingerprint(self.principal.key_id.encode(), covered.encode()),
            model=parameters.model or None,
            call_metadata=place.metadata if place.job_id else None,
            kind=kind,
            is_streamed=streams,
            validates=validates,
        )

        def submit(reply_to: str) -> services.Submitted:
            submitted = None
            if idempotent is None and _is_retry(request):
                submitted = retries.attach(
                    self.principal.team,
                    wanted.fingerprint,
                    job_id=place.job_id,
                    wait_s=wait_s,
                    reply_to=reply_to,
                )
            return submitted or self._submit(wanted, place, user, wait_s, idempotent, reply_to=reply_to)

        if streams and isinstance(parameters, Parameters):
            includes_usage = parameters.includes_usage
            try:
                body_sent = opened(
                    self.principal.team,
                    submit=submit,
                    writer_for=lambda call: self.writer(call, includes_usage=includes_usage),
                    with_job=True,
                )
            except DomainError as error:
                # Of a call that failed before its first piece; what refuses one has no call yet.
                has_failed = "call_id" in error.details
                return errors.refusal(error, is_final=has_failed and idempotent is not None)
            answer = streamed(request, body_sent)
            errors.name_call(answer, body_sent.call.job_id, body_sent.call.pk)
            return answer
        with replies.mailbox().place():
            submitted = submit(replies.mailbox().name)
            call = waiting.wait(self.principal.team, submitted, wait_s, with_job=True)
        if call.state != Call.State.SUCCEEDED:
            # Under its key a failed call stays failed.
            return errors.refusal(waiting.failure(call, headers=submitted.headers), is_final=idempotent is not None)
        return self._with_headers(json_response(self.present(call)), call, submitted)

    def present(self, call: Call) -> dict[str, Any]:
        """A succeeded call in the endpoint's shape. Raises: AnswerExpired."""
        raise NotImplementedError

    def _submit(
        self,
        wanted: services.CallRequest,
        place: Where,
        user: str,
        wait_s: float,
        idempotent: idempotency.Request | None,
        *,
        reply_to: str,
    ) -> services.Submitted:
        if place.job_id:
            return services.submit_call(
                self.principal, wanted, job_id=place.job_id, wait_s=wait_s, reply_to=reply_to, idempotent=idempotent
            )
        new = services.NewJob(place.job_type, user, place.metadata)
        return services.submit_one_call_job(
            self.principal, new, wanted, wait_s=wait_s, reply_to=reply_to, idempotent=idempotent
        )

    def _with_headers(self, response: HttpResponse, call: Call, submitted: services.Submitted) -> HttpResponse:
        """What the answer cost and what is left, in exact credits. A call in an open job costs nothing yet."""
        errors.name_call(response, call.job_id, call.pk)
        balance = billing.balance(self.principal.team)
        response["x-saasllm-credits-charged"] = exact_credits(call.job.charged_micros)
        response["x-saasllm-credits-remaining"] = exact_credits(balance.spendable_micros)
        for name, value in submitted.headers.items():
            response[name] = value
        remaining = escrow.remaining_micros(call.job)
        if remaining is not None:
            response["x-saasllm-escrow-remaining"] = exact_credits(remaining)
        if submitted.is_replay:
            response["Idempotency-Replayed"] = "true"
        return response


def _is_retry(request: HttpRequest) -> bool:
    """Whether OpenAI's client repeats a request by itself: it sends no Idempotency-Key, but counts."""
    count = request.headers.get("x-stainless-retry-count", "")
    return count.isdecimal() and count.strip("0") != ""
