"""Answers about operators' reports on jobs."""

from typing import NotRequired

from typing_extensions import TypedDict

from apps.openapi.kinds import Anything, CallState, Credits, Exact, Id, Instant, JobStatus, Metadata, Usd


class Margin(TypedDict):
    """What jobs earned: revenue, the providers' cost and what is between them."""

    jobs: int
    calls: int
    credits_charged: Credits
    credits_charged_exact: Exact
    credits_refunded_exact: Exact
    credits_uncollected_exact: Exact
    revenue_usd: Usd
    revenue_is_estimated: bool
    credits_estimated_exact: Exact
    cost_is_known: bool
    unpriced_calls: int
    provider_cost_usd: Usd
    unbilled_cost_usd: Usd
    lost_cost_usd: Usd
    margin_usd: Usd
    margin_percent: float | None


class MarginGroup(Margin):
    """The margin of one group, under the name that `group_by` asked for."""

    model: NotRequired[str]
    job_type: NotRequired[str]
    team: NotRequired[str]
    organization: NotRequired[str]


class MarginReport(TypedDict):
    """What jobs of some days earned, highest revenue first."""

    start_date: str | None
    end_date: str | None
    group_by: str
    total: Margin
    total_groups: int
    groups: list[MarginGroup]


class JobSummary(TypedDict):
    """A job for operators, with its providers' cost."""

    job_id: Id
    team_id: str
    user_id: str | None
    job_type: str
    status: JobStatus
    created_at: Instant
    completed_at: Instant | None
    total_calls: int
    successful_calls: int
    failed_calls: int
    retry_count: int
    total_tokens: int
    total_cost_usd: Usd
    provider_cost_usd: Usd
    lost_cost_usd: Usd
    avg_latency_ms: int
    credit_applied: bool
    credits_charged: Exact
    job_metadata: Metadata


class JobReports(TypedDict):
    """A page of a team's jobs."""

    jobs: list[JobSummary]
    total: int
    page: int
    page_size: int
    total_pages: int


class CallReport(TypedDict):
    """A call for operators, with its model, prices and contents while they are kept."""

    call_id: Id
    status: CallState
    model_used: str
    model_group_used: str
    resolved_model: str
    provider: str
    purpose: str | None
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: Usd
    input_cost_usd: Usd | None
    output_cost_usd: Usd | None
    provider_cost_usd: Usd
    client_cost_usd: Usd
    model_pricing_input: float | None
    model_pricing_output: float | None
    latency_ms: int | None
    created_at: Instant
    error: str | None
    request_data: Anything
    response_data: Anything


class JobReport(TypedDict):
    """A job with a page of its calls."""

    job: JobSummary
    calls: list[CallReport]
