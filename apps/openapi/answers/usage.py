"""Answers about usage and costs."""

from typing import NotRequired

from typing_extensions import TypedDict

from apps.openapi.answers.shared import Display
from apps.openapi.kinds import Credits, Exact, Usd


class UsageLine(TypedDict):
    """What jobs used. Costs are null for teams that do not see them."""

    count: int
    cost_usd: Usd | None
    tokens: int
    credits_used: Credits
    credits_used_exact: Exact


class UsageDetail(UsageLine):
    """What jobs used, with their calls."""

    calls: int
    successful_calls: int
    failed_calls: int


class UsageOthers(UsageLine):
    """What all groups used that are not on this page."""

    calls: int
    successful_calls: int
    failed_calls: int
    groups: int


class UsageSummary(TypedDict):
    """What jobs of a period used."""

    total_jobs: int
    successful_jobs: int
    failed_jobs: int
    total_cost_usd: Usd | None
    total_tokens: int
    avg_cost_per_job: Usd | None
    credits_used: Credits
    credits_used_exact: Exact
    display: NotRequired[Display]


class TeamUsage(TypedDict):
    """A team's usage in a period, broken down once more by `group_by`."""

    team_id: str
    period: str
    summary: UsageSummary
    job_types: dict[str, UsageLine]
    by_job_type: dict[str, UsageLine]
    by_user: NotRequired[dict[str, UsageDetail]]
    others: NotRequired[UsageOthers]
    by_key: NotRequired[dict[str, UsageDetail]]
    by_day: NotRequired[dict[str, UsageDetail]]
    by_model: NotRequired[dict[str, UsageDetail]]


class OrganizationUsageSummary(TypedDict):
    """What an organization's jobs of a period used."""

    total_jobs: int
    successful_jobs: int
    failed_jobs: int
    total_cost_usd: Usd
    total_tokens: int
    avg_cost_per_job: Usd
    credits_used: Credits
    credits_used_exact: Exact
    completed_jobs: int


class TeamUsageLine(UsageLine):
    """What a team's jobs used."""

    jobs: int


class OrganizationUsage(TypedDict):
    """An organization's usage in a period."""

    organization_id: str
    period: str
    summary: OrganizationUsageSummary
    teams: dict[str, TeamUsageLine]
    by_team: dict[str, TeamUsageLine]
    by_job_type: dict[str, UsageLine]


class CostLine(TypedDict):
    """What jobs cost, to the customer and to the platform."""

    jobs: int
    total_cost_usd: Usd
    provider_cost_usd: Usd
    lost_cost_usd: Usd
    total_tokens: int
    credits_used: Credits
    credits_used_exact: Exact


class OrganizationCosts(TypedDict):
    """What an organization's jobs cost, by team, job type, model and day."""

    organization_id: str
    start_date: str | None
    end_date: str | None
    jobs: int
    total_cost_usd: Usd
    provider_cost_usd: Usd
    lost_cost_usd: Usd
    total_tokens: int
    credits_used: Credits
    credits_used_exact: Exact
    by_team: dict[str, CostLine]
    by_job_type: dict[str, CostLine]
    by_model: dict[str, CostLine]
    by_day: dict[str, CostLine]
