"""The audit log as it is read: newest first, narrowed by who, what, about what, whose and when."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from apps.core import audit
from apps.core.errors import NotFound
from apps.core.ids import parse_uuid
from apps.core.models import AuditEntry
from apps.organizations.models import Organization
from apps.teams.models import Team
from apps.virtual_keys.models import VirtualKey


class AuditEntryNotFound(NotFound):
    """Raised when there is no audit entry of that id."""

    code = "audit_entry_not_found"
    message = "There is no audit entry of that id"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to narrow by; None narrows nothing. `actor` is `kind:name`, or an operator's e-mail address alone. An
    `action` that ends in a dot stands for all that begin with it. `since` is inclusive, `until` is not."""

    actor: str | None = None
    action: str | None = None
    object_kind: str | None = None
    object_id: str | None = None
    organization: Organization | None = None
    address: str | None = None
    refused: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


def entries(wanted: Wanted) -> QuerySet[AuditEntry]:
    """The entries that fit, newest first."""
    plain = {"object_kind": wanted.object_kind, "object_id": wanted.object_id, "address": wanted.address}
    plain |= {"created_at__gte": wanted.since, "created_at__lt": wanted.until}  # type: ignore[dict-item]
    found = AuditEntry.objects.filter(**{name: value for name, value in plain.items() if value is not None})
    if wanted.actor is not None:
        found = found.filter(actor=wanted.actor if ":" in wanted.actor else f"operator:{wanted.actor}")
    if wanted.action is not None:
        lookup = "action__startswith" if wanted.action.endswith(".") else "action"
        found = found.filter(**{lookup: wanted.action})
    if wanted.refused is not None:
        refused = Q(action=audit.REFUSED)
        found = found.filter(refused if wanted.refused else ~refused)
    if wanted.organization is not None:
        found = found.filter(_about(wanted.organization))
    return found.order_by("-created_at", "-id")


def find(audit_id: str) -> AuditEntry:
    """Raises: AuditEntryNotFound."""
    parsed = parse_uuid(audit_id)
    found = AuditEntry.objects.filter(pk=parsed).first() if parsed else None
    if found is None:
        raise AuditEntryNotFound
    return found


def _about(organization: Organization) -> Q:
    """About the organization itself, its teams, their keys, and its members."""
    teams = Team.objects.filter(organization=organization)
    keys = VirtualKey.objects.filter(team__organization=organization).values_list("pk", flat=True)
    return (
        Q(object_kind="organization", object_id=organization.organization_id)
        | Q(object_kind="team", object_id__in=teams.values("team_id"))
        | Q(object_kind="key", object_id__in=[str(key) for key in keys])
        | Q(object_kind="member", object_id__startswith=f"{organization.organization_id}/")
    )
