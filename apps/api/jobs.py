"""Jobs: create, complete, read, metadata, costs. Calls are in `calls.py`."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints, field_validator
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present
from apps.api.authentication import EitherView, KeyView
from apps.api.budgets import BudgetInput, ChangeBudgetInput
from apps.api.display import display_of_job
from apps.api.fields import query_error
from apps.api.idempotent import answer
from apps.api.listing import listed, require_page
from apps.api.parsing import Input, JSONObject, parse
from apps.core.clock import iso
from apps.core.errors import NotAllowed
from apps.core.ids import parse_uuid
from apps.credits import billing
from apps.jobs import budgets, cancelling, escrow, receipt_wire, services
from apps.jobs.errors import JobNotFound
from apps.jobs.models import Call, Job
from apps.organizations.rights import Right
from apps.virtual_keys.services import Principal

JobType = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class OpenJobInput(BudgetInput):
    """A job to create."""

    team_id: str
    job_type: JobType
    user_id: Annotated[str, StringConstraints(max_length=255)] | None = None
    metadata: JSONObject | None = None


class CompleteInput(Input):
    """How a job ended."""

    status: str
    metadata: JSONObject | None = None
    error_message: Annotated[str, StringConstraints(max_length=1000)] | None = None
    result: JSONObject | None = None

    @field_validator("status")
    @classmethod
    def _known(cls, value: str) -> str:
        if value.lower() not in ("completed", "failed"):
            raise ValueError("status must be 'completed' or 'failed'")
        return value.lower()


class CancelInput(Input):
    """Why a job is cancelled; the body may be left out."""

    reason: Annotated[str, StringConstraints(max_length=1000)] | None = None


class MetadataInput(Input):
    """Keys to merge into a job's metadata."""

    metadata: JSONObject = Field()


class CreateJob(KeyView):
    """POST /api/jobs/create"""

    starts_work = True

    def post(self, request: Request) -> Response:
        body = parse(OpenJobInput, request)
        self.require_own_team(body.team_id)
        job, is_replay = services.open_job(
            self.principal,
            services.NewJob(body.job_type, body.user_id or "", body.metadata or {}, body.budget()),
            idempotent=self.idempotent(request),
        )
        return answer(
            {
                "job_id": str(job.pk),
                "team_id": self.principal.team.team_id,
                "job_type": job.job_type,
                "status": job.wire_status,
                "created_at": iso(job.created_at),
                "deadline": iso(job.deadline_at),
                "escrow": escrow.as_wire(job),
            },
            is_replay=is_replay,
        )


class CompleteJob(KeyView):
    """POST /api/jobs/{job_id}/complete: always 200 with `costs`, also for a repeat and without credits."""

    def post(self, request: Request, job_id: str) -> Response:
        body = parse(CompleteInput, request)
        metadata = dict(body.metadata or {})
        if body.result is not None:
            metadata["result"] = body.result
        job, is_replay = services.complete_job(
            self.principal.team,
            job_id=job_id,
            verdict=body.status,
            closed_by=f"key:{self.principal.key_id}",
            metadata=metadata,
            error_message=body.error_message,
            idempotent=self.idempotent(request),
        )
        return answer(_completion(self.principal, job), is_replay=is_replay)


class CancelJob(KeyView):
    """POST /api/jobs/{job_id}/cancel: answers like complete, a job that is closed with its first verdict."""

    def post(self, request: Request, job_id: str) -> Response:
        body = parse(CancelInput, request)
        team = self.principal.team
        job, is_replay = cancelling.cancel_job(
            team,
            job_id=job_id,
            closed_by=f"key:{self.principal.key_id}",
            reason=body.reason,
            idempotent=self.idempotent(request),
        )
        return answer(_completion(self.principal, job), is_replay=is_replay)


def _completion(principal: Principal, job: Job) -> dict[str, Any]:
    team = principal.team
    show_costs = billing.shows_costs(team)
    body = present.completion(job, services.calls_of(job), billing.balance(team), show_costs=show_costs)
    body["costs"] |= display_of_job(principal.organization, job, show_costs=show_costs)
    return body


class JobView(EitherView):
    """About one job, for its team and for operators."""

    def job(self, job_id: str) -> Job:
        """Raises: JobNotFound."""
        if self.caller.principal is not None:
            return services.find_job(self.caller.principal.team, job_id)
        return operator_job(job_id)


class OneJob(JobView):
    """GET, PATCH /api/jobs/{job_id}"""

    rights = {"GET": Right.VIEW, "PATCH": Right.JOBS_WRITE}

    def get(self, request: Request, job_id: str) -> Response:
        job = self.job(job_id)
        show_costs = self.caller.is_operator or billing.shows_costs(job.team)
        return Response(
            present.job(job)
            | {
                "costs": present.costs(job, billing.balance(job.team), show_costs=show_costs)
                | display_of_job(job.organization, job, show_costs=show_costs),
                "calls": [present.call_line(call) for call in services.calls_of(job)],
            }
        )

    def patch(self, request: Request, job_id: str) -> Response:
        principal = self.caller.principal
        if principal is None:
            raise NotAllowed("A job's budget is changed with its team's virtual key.")
        principal.require_scope("jobs")
        body = parse(ChangeBudgetInput, request)
        job = budgets.change(principal, job_id=job_id, wanted=body.change())
        return Response(present.job(job) | {"updated_at": iso(job.active_at)})


class JobMetadata(KeyView):
    """PATCH /api/jobs/{job_id}/metadata"""

    def patch(self, request: Request, job_id: str) -> Response:
        body = parse(MetadataInput, request)
        job = services.merge_metadata(self.principal.team, job_id=job_id, metadata=body.metadata)
        return Response({"job_id": str(job.pk), "metadata": job.metadata, "updated_at": iso(job.active_at)})


class JobCosts(JobView):
    """GET /api/jobs/{job_id}/costs"""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, job_id: str) -> Response:
        job = self.job(job_id)
        show_costs = self.caller.is_operator or billing.shows_costs(job.team)

        def cost(nanousd: int, places: int) -> float | None:
            return receipt_wire.client_cost_usd(job, nanousd, places=places, show_costs=show_costs)

        return Response(
            {
                "job_id": str(job.pk),
                "team_id": job.team.team_id,
                "job_type": job.job_type,
                "status": job.wire_status,
                "costs": {
                    "total_cost_usd": cost(job.provider_cost_nanousd, 6),
                    "breakdown": [
                        {
                            "call_id": str(call.pk),
                            "model": call.model_group_used if call.state == Call.State.SUCCEEDED else None,
                            "purpose": call.purpose or None,
                            "prompt_tokens": call.prompt_tokens,
                            "completion_tokens": call.completion_tokens,
                            "cost_usd": cost(call.provider_cost_nanousd, 8),
                            "created_at": iso(call.created_at),
                        }
                        for call in services.calls_of(job)
                    ],
                }
                | display_of_job(job.organization, job, show_costs=show_costs),
            }
        )


class TeamJobs(EitherView):
    """GET /api/teams/{team_id}/jobs: newest first, with the true total."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, team_id: str) -> Response:
        require_page(request)
        statuses = wanted_statuses(request)
        team = self.team(team_id, refusal="Cannot access jobs for a different team")
        jobs = Job.objects.for_team(team).select_related("team", "organization")
        if statuses:
            jobs = jobs.filter(status__in=statuses)
        orders = {"created_at": "created_at", "completed_at": "completed_at", "credits_charged": "charged_micros"}
        found = listed(request, jobs.order_by("-created_at", "-id"), default=100, orders=orders)
        return Response({"team_id": team.team_id} | found.body("jobs", (present.job(job) for job in found.rows)))


def wanted_statuses(request: Request) -> list[str]:
    """States that `status` asks for, in any case; none for all. Raises: InvalidBody."""
    status = request.GET.get("status", "").lower()
    if not status:
        return []
    if status not in Job.Status.values or status == Job.Status.PAUSED:
        known = ", ".join(value for value in Job.Status.values if value != Job.Status.PAUSED)
        raise query_error("status", f"Invalid status. Must be one of: {known}", kind="enum", value=status)
    return [status, Job.Status.PAUSED] if status == Job.Status.IN_PROGRESS else [status]


def operator_job(job_id: str) -> Job:
    """Any team's job, for operators. Raises: JobNotFound."""
    parsed = parse_uuid(job_id)
    found = Job.objects.select_related("team", "organization").filter(pk=parsed).first() if parsed else None
    if found is None:
        raise JobNotFound
    return found
