"""Every query of a tenant's rows starts here: what belongs to another team is not found, not forbidden.

So does the change of a tenant's own state, which is one for organizations and teams.
"""

from collections.abc import Iterable
from typing import Protocol, Self, TypeVar

from django.db import models

from apps.core import audit
from apps.core.actors import Actor

M = TypeVar("M", bound=models.Model, covariant=True)
T = TypeVar("T", bound=models.Model)


class TenantQuerySet(models.QuerySet[M]):
    """Rows that carry `team` and `organization`."""

    def for_team(self, team: models.Model) -> Self:
        return self.filter(team_id=team.pk)

    def for_organization(self, organization: models.Model) -> Self:
        return self.filter(organization_id=organization.pk)


class HasStatus(Protocol):
    """A tenant: an organization or a team."""

    status: str
    status_reason: str

    def save(self, *, update_fields: Iterable[str] | None = None) -> None: ...


def locked(tenant: T) -> T:
    """The tenant under its row lock, which leaves its key alone: a full one would wait for every admission (their
    inserts share the tenant's key) and could deadlock with those that hold the wallet."""
    return type(tenant)._default_manager.select_for_update(no_key=True).get(pk=tenant.pk)


def change_status(tenant: HasStatus, *, kind: str, id: str, status: str, actor: Actor, reason: str) -> None:
    """Give a locked tenant another state or reason, with its audit row. Nothing when it has both already."""
    if tenant.status == status and tenant.status_reason == reason:
        return
    audit.record(
        f"{kind}.status",
        actor=actor,
        kind=kind,
        id=id,
        before={"status": tenant.status},
        after={"status": status},
        reason=reason,
    )
    tenant.status, tenant.status_reason = status, reason
    tenant.save(update_fields=["status", "status_reason", "updated_at"])
