"""Answers about jobs."""

from typing import NotRequired

from typing_extensions import TypedDict

from apps.openapi.answers.shared import Display, Escrow, JobFigures, LongPage, Page
from apps.openapi.kinds import CallState, Credits, Exact, Id, Instant, JobStatus, Metadata, Usd


class JobOpened(TypedDict):
    """A new job."""

    job_id: Id
    team_id: str
    job_type: str
    status: JobStatus
    created_at: Instant
    deadline: Instant | None
    escrow: Escrow | None


class Job(TypedDict):
    """A job without its calls."""

    job_id: Id
    team_id: str
    organization_id: str
    user_id: str | None
    job_type: str
    status: JobStatus
    paused_reason: str | None
    created_at: Instant
    started_at: Instant | None
    completed_at: Instant | None
    metadata: Metadata
    error_message: str | None
    external_task_id: None
    credit_applied: bool
    credits_charged: Exact
    charge_pending: bool
    model_groups_used: list[str]
    deadline: Instant | None
    escrow: Escrow | None


class Jobs(Page):
    """A page of a team's jobs."""

    team_id: str
    jobs: list[Job]


class AllJobs(LongPage):
    """Jobs of all teams, or of the key's own."""

    jobs: list[Job]


class CallLine(TypedDict):
    """A call in its job's list."""

    call_id: Id
    purpose: str | None
    model_group: str
    status: CallState
    tokens: int
    latency_ms: int | None
    error: str | None
    created_at: Instant


class CallOfAll(CallLine):
    """A call of any team, without what was asked and answered. Null is what it has not come to."""

    job_id: Id
    team_id: str
    organization_id: str
    model_used: str | None
    provider: str | None
    provider_model: str | None
    prompt_tokens: int
    completion_tokens: int
    provider_cost_usd: Usd
    error_code: str | None
    started_at: Instant | None
    ended_at: Instant | None


class AllCalls(LongPage):
    """Calls of all teams."""

    calls: list[CallOfAll]


class JobCompleted(TypedDict):
    """A closed job with its charge. `charge_pending` while calls of it still run."""

    job_id: Id
    status: JobStatus
    completed_at: Instant | None
    costs: JobFigures
    calls: list[CallLine]
    credits_remaining: Credits
    total_calls: int
    charge_pending: bool
    escrow: Escrow | None


class JobShown(Job):
    """A job with its calls and figures."""

    costs: JobFigures
    calls: list[CallLine]


class JobChanged(Job):
    """A job whose budget was changed."""

    updated_at: Instant


class CostOfCall(TypedDict):
    """What one call of a job cost."""

    call_id: Id
    model: str | None
    purpose: str | None
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Usd | None
    created_at: Instant


class CostsOfJob(TypedDict):
    """A job's cost, call by call."""

    total_cost_usd: Usd | None
    breakdown: list[CostOfCall]
    display: NotRequired[Display]


class JobCosts(TypedDict):
    """A job and what it cost."""

    job_id: Id
    team_id: str
    job_type: str
    status: JobStatus
    costs: CostsOfJob


class JobMetadata(TypedDict):
    """A job's metadata after the change."""

    job_id: Id
    metadata: Metadata
    updated_at: Instant
