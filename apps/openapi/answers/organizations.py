"""Answers about organizations."""

from typing import NotRequired

from typing_extensions import TypedDict

from apps.openapi.answers.shared import Page
from apps.openapi.answers.teams import Team
from apps.openapi.kinds import Id, Instant, Metadata, OrganizationStatus


class DefaultTeam(Team):
    """The organization's first team with its key."""

    key_id: Id


class DefaultTeamFailed(TypedDict):
    """Why the organization's first team could not be made."""

    error: str


class Organization(TypedDict):
    """An organization. Why it was suspended is for operators."""

    organization_id: str
    name: str
    status: OrganizationStatus
    display_currency: str
    metadata: Metadata
    time_zone: str
    stores_content: bool
    content_retention_h: int | None
    created_at: Instant
    updated_at: Instant
    default_team: DefaultTeam | DefaultTeamFailed | None
    status_reason: NotRequired[str | None]


class OrganizationTeams(Page):
    """A page of an organization's teams."""

    organization_id: str
    team_count: int
    teams: list[Team]


class OrganizationStatusChanged(TypedDict):
    """An organization's status before and after."""

    organization_id: str
    status: OrganizationStatus
    previous_status: OrganizationStatus
    updated_at: Instant
    reason: str | None
    message: str


class Provisioned(TypedDict):
    """A customer that was made. The secret is in this answer alone; both are null when no key was wanted."""

    organization: Organization
    team: Team
    key_id: Id | None
    virtual_key: str | None
    message: str
