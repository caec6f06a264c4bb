"""Create and find teams, change their names and state."""

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from apps.core import audit, tenancy
from apps.core.actors import Actor
from apps.organizations.models import Organization
from apps.organizations.services import require_public_id
from apps.teams.errors import TeamClosed, TeamExists, TeamNotActive, TeamNotFound
from apps.teams.models import Team


def create(
    organization: Organization,
    *,
    team_id: str,
    actor: Actor,
    alias: str = "",
    metadata: dict[str, Any] | None = None,
) -> Team:
    """Make a team. Raises: TeamExists, InvalidField."""
    require_public_id("team_id", team_id)
    try:
        with transaction.atomic():
            team = Team.objects.create(
                organization=organization, team_id=team_id, alias=alias, metadata=metadata or {}
            )
            audit.record(
                "team.create",
                actor=actor,
                kind="team",
                id=team_id,
                after={"organization_id": organization.organization_id, "alias": alias},
            )
    except IntegrityError:
        raise TeamExists(f"Team '{team_id}' already exists") from None
    return team


def find(team_id: str) -> Team:
    """A team with its organization. Raises: TeamNotFound."""
    team = Team.objects.select_related("organization").filter(team_id=team_id).first()
    if team is None:
        raise TeamNotFound(f"Team '{team_id}' not found")
    return team


def matching(
    *, organization: Organization | None = None, status: str | None = None, text: str | None = None
) -> QuerySet[Team]:
    """Teams by id with their organization, closed ones only when `status` asks for them. `text` is part of the id or
    the alias."""
    teams = Team.objects.select_related("organization").order_by("team_id")
    teams = teams.exclude(status=Team.Status.CLOSED) if status is None else teams.filter(status=status)
    if organization is not None:
        teams = teams.filter(organization=organization)
    if text is not None:
        teams = teams.filter(Q(team_id__icontains=text) | Q(alias__icontains=text))
    return teams


def count(organization: Organization) -> int:
    """How many teams of the organization are not closed."""
    return matching(organization=organization).count()


def require_active(team_status: str, organization_status: str) -> None:
    """Raises: TeamNotActive unless both may take on new work."""
    status = team_status if organization_status == Organization.Status.ACTIVE else organization_status
    if status != Team.Status.ACTIVE:
        raise TeamNotActive(f"Team access is {status}. Please contact support.", status=status)


def update(team: Team, *, actor: Actor, alias: str | None = None, metadata: dict[str, Any] | None = None) -> Team:
    """Change a team's name or metadata; what is None stays."""
    with transaction.atomic():
        locked = tenancy.locked(team)
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        if alias is not None and alias != locked.alias:
            before["alias"], after["alias"] = locked.alias, alias
            locked.alias = alias
        if metadata is not None and metadata != locked.metadata:
            before["metadata"], after["metadata"] = locked.metadata, metadata
            locked.metadata = metadata
        if after:
            locked.save(update_fields=["alias", "metadata", "updated_at"])
            audit.record("team.update", actor=actor, kind="team", id=team.team_id, before=before, after=after)
    return locked


def set_status(team: Team, *, status: str, actor: Actor, reason: str = "") -> Team:
    """Suspend, pause or resume. Open jobs can still be completed and read. Repeatable.

    Raises: TeamClosed for a closed team, whose state is final.
    """
    with transaction.atomic():
        locked = tenancy.locked(team)
        if locked.status == Team.Status.CLOSED and status != Team.Status.CLOSED:
            raise TeamClosed(f"Team '{team.team_id}' is closed and cannot be {status}.")
        tenancy.change_status(locked, kind="team", id=team.team_id, status=status, actor=actor, reason=reason)
    return locked
