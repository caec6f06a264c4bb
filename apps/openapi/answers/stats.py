"""Answers about operators' dashboards."""

from typing_extensions import TypedDict

from apps.openapi.kinds import Credits, Exact, Usd


class DailySpend(TypedDict):
    """The spend of a day."""

    date: str
    spend: float
    count: int


class ModelSpend(TypedDict):
    """The spend on a model."""

    model: str
    spend: float
    count: int


class ProviderSpend(TypedDict):
    """The spend with a provider."""

    provider: str
    spend: float
    successful: int
    failed: int
    tokens: int
    provider_cost_usd: Usd


class TeamSpend(TypedDict):
    """The spend of a team."""

    team_id: str
    spend: float
    successful: int
    failed: int
    tokens: int
    provider_cost_usd: Usd


class OrganizationAnalytics(TypedDict):
    """An organization's spend by day, team, model and provider."""

    organization_id: str
    organization_name: str
    total_spend: float
    provider_cost_usd: Usd
    total_requests: int
    successful_requests: int
    failed_requests: int
    total_tokens: int
    daily_spend: list[DailySpend]
    spend_per_team: list[TeamSpend]
    top_models: list[ModelSpend]
    provider_usage: list[ProviderSpend]


class TopTeam(TypedDict):
    """A team with many jobs."""

    team_id: str
    job_count: int
    credits_used: Credits


class OrganizationStats(TypedDict):
    """An organization's jobs in figures."""

    organization_id: str
    organization_name: str
    total_jobs: int
    completed_jobs: int
    failed_jobs: int
    cancelled_jobs: int
    in_progress_jobs: int
    pending_jobs: int
    total_teams: int
    total_llm_calls: int
    successful_calls: int
    failed_calls: int
    total_tokens: int
    total_cost_usd: Usd
    provider_cost_usd: Usd
    lost_cost_usd: Usd
    total_credits_used: int
    total_credits_used_exact: Exact
    top_teams: list[TopTeam]


class Dashboard(TypedDict):
    """The platform in figures."""

    organizations: int
    teams: int
    modelGroups: int
    totalCredits: int
    creditsRemaining: Credits
    creditsUsed: Credits


class TeamNeedingAttention(TypedDict):
    """A team whose credits run out."""

    team_id: str
    credits_remaining: Credits
    percentage: float
    status: str


class UtilizationByStatus(TypedDict):
    """How many teams have enough."""

    healthy: int
    warning: int
    critical: int


class UtilizationSummary(TypedDict):
    """The credits of all teams."""

    total_allocated: int
    total_remaining: int
    total_used: int
    avg_utilization: float


class CreditUtilization(TypedDict):
    """How much teams have left, and those that need attention, emptiest first."""

    total_teams: int
    summary: UtilizationSummary
    by_status: UtilizationByStatus
    teams_needing_attention: list[TeamNeedingAttention]
