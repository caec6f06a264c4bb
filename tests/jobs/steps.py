"""Steps of a job's life as its callers and workers take them, and the gateway's place taken by a function."""

from collections.abc import Callable
from typing import Any

import pytest

from apps.core import clock
from apps.credits import billing
from apps.credits.billing import Balance
from apps.credits.pricing import Terms
from apps.jobs import execution, lifecycle, services
from apps.jobs.gateway import routes
from apps.jobs.gateway.interface import Completion, CompletionRequest, Usage
from apps.jobs.models import Call, Job
from tests import make

QUESTION = "What is Python?"


def open_job(customer: make.Customer, job_type: str = "query", **fields: Any) -> Job:
    return services.open_job(customer.principal, services.NewJob(job_type, **fields))[0]


def request_for(text: str = QUESTION, *, fingerprint: str | None = None, **more: Any) -> services.CallRequest:
    body = {"messages": [{"role": "user", "content": text}], **more.pop("parameters", {})}
    return services.CallRequest(body=body, fingerprint=fingerprint or text, **more)


def ask(
    customer: make.Customer,
    job: Job | str,
    text: str = QUESTION,
    *,
    wait_s: float = 28.0,
    reply_to: str = "",
    idempotent: Any = None,
    **more: Any,
) -> services.Submitted:
    return services.submit_call(
        customer.principal,
        request_for(text, **more),
        job_id=str(getattr(job, "pk", job)),
        wait_s=wait_s,
        reply_to=reply_to,
        idempotent=idempotent,
    )


def create_and_call(
    customer: make.Customer, text: str = QUESTION, *, idempotent: Any = None, **more: Any
) -> services.Submitted:
    return services.submit_one_call_job(
        customer.principal,
        services.NewJob(more.pop("job_type", "query"), metadata=more.pop("metadata", {})),
        request_for(text, **more),
        wait_s=28,
        reply_to="",
        idempotent=idempotent,
    )


def run(submitted: services.Submitted) -> bool:
    return execution.run_call(str(submitted.call_id))


def complete(customer: make.Customer, job: Job | Any, verdict: str = "completed", **more: Any) -> Job:
    return services.complete_job(
        customer.team, job_id=str(getattr(job, "pk", job)), verdict=verdict, closed_by="test", **more
    )[0]


def call_of(submitted: services.Submitted) -> Call:
    return Call.objects.select_related("payload", "job").get(pk=submitted.call_id)


def job_of(submitted: services.Submitted) -> Job:
    return Job.objects.get(pk=submitted.job_id)


def fresh(job: Job) -> Job:
    return Job.objects.get(pk=job.pk)


def terms_of(job: Job) -> Terms:
    """The pricing frozen on the job."""
    terms = lifecycle.terms_of(fresh(job))
    assert terms is not None
    return terms


def balance(customer: make.Customer) -> Balance:
    return billing.balance(customer.team)


def money(customer: make.Customer) -> tuple[float, float]:
    """Posted and held, in credits."""
    found = balance(customer)
    return found.posted_micros / 1_000_000, found.held_micros / 1_000_000


def at(row: Call | Job | Any, **seconds: float) -> None:
    """Set instants of a row to so many seconds from the database's now."""
    row_type = type(row)
    row_type.objects.filter(pk=row.pk).update(**{name: clock.from_now(value) for name, value in seconds.items()})


def answer(text: str = "An answer.", *, prompt: int = 10, completion: int = 5, **more: Any) -> Completion:
    usage = more.pop("usage", Usage(prompt, completion))
    message = {"role": "assistant", "content": text}
    return Completion(
        provider_id="chatcmpl-1",
        created=1_700_000_000,
        resolved_model="some-model",
        choices=[{"index": 0, "message": message, "finish_reason": "stop"}],
        usage=usage,
        **more,
    )


class Route:
    """A gateway that answers by a function and remembers what it was asked."""

    def __init__(self, reply: Callable[[CompletionRequest], Completion]) -> None:
        self.reply = reply
        self.requests: list[CompletionRequest] = []
        self.timeouts_s: list[float] = []

    def complete(self, request: CompletionRequest, *, timeout_s: float) -> Completion:
        self.requests.append(request)
        self.timeouts_s.append(timeout_s)
        return self.reply(request)


def take_route(monkeypatch: pytest.MonkeyPatch, reply: Callable[[CompletionRequest], Completion]) -> Route:
    """Put a function in the place of the demo provider's route."""
    route = Route(reply)
    monkeypatch.setitem(routes._ROUTES, "demo", route)
    return route
