"""Answers about teams and their prices."""

from typing import NotRequired

from typing_extensions import TypedDict

from apps.openapi.answers.limits import Limit
from apps.openapi.answers.shared import Balance, TeamCredits
from apps.openapi.kinds import BudgetMode, Id, Instant, Metadata, OrganizationStatus, TeamStatus


class TeamBase(Balance):
    """A team. To its key `status` is what the key meets, the organization's too."""

    team_id: str
    organization_id: str
    team_alias: str | None
    status: TeamStatus
    budget_mode: BudgetMode
    credits_per_dollar: float
    tokens_per_credit: int
    cost_markup_percentage: float | None
    access_groups: list[str]
    model_groups: list[str]
    allowed_model_aliases: list[str]
    allowed_models: list[str]
    default_model: str | None
    virtual_key: str | None
    virtual_key_prefix: str | None
    metadata: Metadata
    created_at: Instant
    updated_at: Instant


class Team(TeamBase):
    """A team as operators see it."""

    status_reason: str | None
    organization_status: OrganizationStatus


class TeamAccessGroups(TypedDict):
    """A team's access groups after the change."""

    team_id: str
    access_groups: list[str]
    allowed_model_aliases: list[str]
    message: str


class TeamCreated(Team):
    """A new team with its first key. The secret is in this answer alone."""

    key_id: Id
    message: str


class TeamUpdated(Team):
    """A team after the change."""

    message: str


class TeamStatusChanged(TypedDict):
    """A team's new status."""

    team_id: str
    status: TeamStatus
    message: str


class TeamModelGroups(TypedDict):
    """A team's model groups after the change."""

    team_id: str
    model_groups: list[str]
    allowed_model_aliases: list[str]
    message: str


class KeyVerified(TypedDict):
    """Whose key it is."""

    team_id: str
    organization_id: str
    status: str


class TeamMarkup(TypedDict):
    """A team's markup after the change."""

    team_id: str
    cost_markup_percentage: float
    budget_mode: BudgetMode
    credits_per_dollar: float
    message: str


class TeamBudgetMode(TypedDict):
    """How a team's jobs are priced after the change."""

    team_id: str
    budget_mode: BudgetMode
    credits_per_dollar: float
    tokens_per_credit: int
    message: str


class UsingDefaults(TypedDict):
    """Which rates are the platform's defaults."""

    tokens_per_credit: bool
    credits_per_dollar: bool


class ConversionRates(TypedDict):
    """What a credit is worth to a team."""

    team_id: str
    tokens_per_credit: int
    credits_per_dollar: float
    budget_mode: BudgetMode
    using_defaults: UsingDefaults


class ConversionRatesChanged(TypedDict):
    """What a credit is worth to a team after the change."""

    team_id: str
    tokens_per_credit: int
    credits_per_dollar: float
    message: str


class TeamShown(TeamBase):
    """A team with its credit account and limits."""

    status_reason: NotRequired[str | None]
    organization_status: NotRequired[OrganizationStatus]
    credits: TeamCredits
    limits: list[Limit]
