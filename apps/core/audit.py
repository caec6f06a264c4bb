"""The audit trail: every change of tenants, keys, prices, limits, credits and roles leaves one row.

Written inside the change's own transaction, so that neither exists without the other.
"""

from typing import Any

from django.db import transaction

from apps.core.actors import Actor
from apps.core.models import AuditEntry, Event

REFUSED = "refused"


def record(
    action: str,
    *,
    actor: Actor,
    kind: str,
    id: str,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
) -> None:
    """Write who did `action` to the object, with the changed fields before and after. Never pass a secret."""
    AuditEntry.objects.create(
        action=action,
        actor=str(actor)[:255],
        address=actor.address[:64],
        object_kind=kind,
        object_id=id[:255],
        before=before or {},
        after=after or {},
        reason=reason[:500],
        via=actor.via[:32],
    )


def refused(right: str, *, actor: Actor, kind: str, id: str, **asked: Any) -> None:
    """Write that an operator was refused something for want of `right`; `asked` says what it was.

    Committed on its own: what was refused has been rolled back by then. Raises: RuntimeError in a transaction.
    """
    with transaction.atomic(durable=True):
        record(REFUSED, actor=actor, kind=kind, id=id, after={"right": right, **asked})


def emit(kind: str, *, subject: str, organization_id: str = "", team_id: str = "", **data: Any) -> None:
    """Write an event to the outbox, with its cause's transaction."""
    Event.objects.create(kind=kind, subject=subject, organization_id=organization_id, team_id=team_id, data=data)
