"""A customer's work as its code does it, through the product's services; only the provider is fake."""

import hashlib
from collections import deque
from typing import Any

import pytest

from apps.jobs import asking, execution, services
from apps.jobs.gateway.interface import Completion, CompletionRequest, GatewayError, Usage
from apps.jobs.models import Job
from tests import make


class FakeGateway:
    """Answers each call with the next of `usages`, or fails as told; keeps what it was asked."""

    def __init__(self) -> None:
        self.outcomes: deque[tuple[int, int] | GatewayError] = deque()
        self.requests: list[CompletionRequest] = []

    def will_use(self, *usages: tuple[int, int]) -> None:
        """Tokens in and out of the next calls."""
        self.outcomes.extend(usages)

    def will_fail(self) -> None:
        self.outcomes.append(GatewayError("provider_error", "the model backend reported an error", status=500))

    def complete(self, request: CompletionRequest, *, timeout_s: float) -> Completion:
        self.requests.append(request)
        outcome = self.outcomes.popleft()
        if isinstance(outcome, GatewayError):
            raise outcome
        return Completion(
            provider_id="fake",
            created=1,
            resolved_model=request.provider_model,
            choices=[{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
            usage=Usage(*outcome),
        )


def provide(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    """Put a fake gateway behind every route."""
    gateway = FakeGateway()
    monkeypatch.setattr(asking, "gateway_for", lambda route: gateway)
    return gateway


def open_job(customer: make.Customer, job_type: str = "query") -> Job:
    return services.open_job(customer.principal, services.NewJob(job_type))[0]


def submit(customer: make.Customer, job: Job, text: str = "Is it so?", **more: Any) -> str:
    """Admit a call. Its id."""
    model = more.pop("model", None)
    body = {"messages": [{"role": "user", "content": text}], **more}
    fingerprint = hashlib.sha256(f"{job.pk}:{text}".encode()).hexdigest()
    request = services.CallRequest(body=body, fingerprint=fingerprint, model=model)
    submitted = services.submit_call(customer.principal, request, job_id=str(job.pk), wait_s=28, reply_to="")
    return str(submitted.call_id)


def call(customer: make.Customer, job: Job, text: str = "Is it so?", **more: Any) -> str:
    """Admit a call and make it. Its id."""
    call_id = submit(customer, job, text, **more)
    assert execution.run_call(call_id)
    return call_id


def complete(customer: make.Customer, job: Job, verdict: str = "completed") -> Job:
    return services.complete_job(customer.team, job_id=str(job.pk), verdict=verdict, closed_by="test")[0]
