"""Create, find, suspend and resume organizations."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from apps.core import audit, tenancy
from apps.core.actors import Actor
from apps.core.errors import InvalidField
from apps.core.ids import RESERVED_IDS, is_public_id
from apps.organizations.errors import OrganizationExists, OrganizationNotFound
from apps.organizations.models import Organization, validate_time_zone

ID_MAX_LENGTH = 255
# A year.
CONTENT_RETENTION_H_MAX = 366 * 24


def require_public_id(field: str, value: str) -> None:
    """Raises: InvalidField when a caller may not choose this id."""
    if len(value) > ID_MAX_LENGTH:
        raise InvalidField(field, f"Must have at most {ID_MAX_LENGTH} characters.", value=value[:ID_MAX_LENGTH])
    if not is_public_id(value):
        raise InvalidField(
            field,
            "Must start with a letter or digit and hold only letters, digits and . _ : @ -"
            f" (and be none of: {', '.join(sorted(RESERVED_IDS))}).",
            value=value,
        )


def require_time_zone(name: str) -> None:
    """Raises: InvalidField unless it is an IANA name."""
    try:
        validate_time_zone(name)
    except ValidationError as error:
        raise InvalidField("time_zone", error.messages[0], value=name[:100]) from None


def create(
    *,
    organization_id: str,
    name: str,
    actor: Actor,
    metadata: dict[str, Any] | None = None,
    time_zone: str = "UTC",
) -> Organization:
    """Make an organization. Raises: OrganizationExists, InvalidField."""
    require_public_id("organization_id", organization_id)
    require_time_zone(time_zone)
    try:
        with transaction.atomic():
            organization = Organization.objects.create(
                organization_id=organization_id, name=name, metadata=metadata or {}, time_zone=time_zone
            )
            audit.record(
                "organization.create",
                actor=actor,
                kind="organization",
                id=organization_id,
                after={"name": name},
            )
    except IntegrityError:
        raise OrganizationExists(f"Organization with ID '{organization_id}' already exists") from None
    return organization


def find(organization_id: str) -> Organization:
    """Raises: OrganizationNotFound."""
    organization = Organization.objects.filter(organization_id=organization_id).first()
    if organization is None:
        raise OrganizationNotFound(f"Organization '{organization_id}' not found")
    return organization


def matching(
    *,
    status: str | None = None,
    text: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
) -> QuerySet[Organization]:
    """Organizations by id, narrowed by what is given: `text` is part of the id or the name, `created_to` excluded."""
    organizations = Organization.objects.order_by("organization_id")
    if status is not None:
        organizations = organizations.filter(status=status)
    if text is not None:
        organizations = organizations.filter(Q(organization_id__icontains=text) | Q(name__icontains=text))
    if created_from is not None:
        organizations = organizations.filter(created_at__gte=created_from)
    if created_to is not None:
        organizations = organizations.filter(created_at__lt=created_to)
    return organizations


def set_status(organization: Organization, *, status: str, actor: Actor, reason: str = "") -> Organization:
    """Suspend or resume: a suspended organization's teams open no job and start no call. Repeatable."""
    with transaction.atomic():
        locked = tenancy.locked(organization)
        tenancy.change_status(
            locked, kind="organization", id=locked.organization_id, status=status, actor=actor, reason=reason
        )
    return locked


def set_time_zone(organization: Organization, name: str, *, actor: Actor) -> Organization:
    """Say when its days, weeks and months begin. Raises: InvalidField."""
    require_time_zone(name)
    with transaction.atomic():
        locked = tenancy.locked(organization)
        if locked.time_zone != name:
            audit.record(
                "organization.time_zone",
                actor=actor,
                kind="organization",
                id=locked.organization_id,
                before={"time_zone": locked.time_zone},
                after={"time_zone": name},
            )
            locked.time_zone = name
            locked.save(update_fields=["time_zone", "updated_at"])
    return locked


def update(
    organization: Organization,
    *,
    actor: Actor,
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
    time_zone: str | None = None,
) -> Organization:
    """Change an organization's name, metadata or time zone; what is None stays. Raises: InvalidField."""
    with transaction.atomic():
        if time_zone is not None:
            organization = set_time_zone(organization, time_zone, actor=actor)
        locked = tenancy.locked(organization)
        given = {"name": name, "metadata": metadata}
        after = {key: value for key, value in given.items() if value is not None and value != getattr(locked, key)}
        if after:
            before = {key: getattr(locked, key) for key in after}
            for key, value in after.items():
                setattr(locked, key, value)
            locked.save(update_fields=[*after, "updated_at"])
            audit.record(
                "organization.update",
                actor=actor,
                kind="organization",
                id=locked.organization_id,
                before=before,
                after=after,
            )
    return locked


def content_kept_for(organization: Organization) -> timedelta:
    """How long after a call its content may be seen, where it is stored."""
    hours = organization.content_retention_h
    return timedelta(hours=settings.PAYLOAD_RETENTION_H if hours is None else hours)


def set_content_retention(
    organization: Organization, *, stores_content: bool, retention_h: int | None, actor: Actor, reason: str = ""
) -> Organization:
    """Say whether what its calls asked and answered may be seen, and for how many hours after each (None: as by
    default). Repeats of a request need the texts for PAYLOAD_RETENTION_H, so that they are deleted no sooner.

    Raises: InvalidField.
    """
    if retention_h is not None and not 1 <= retention_h <= CONTENT_RETENTION_H_MAX:
        raise InvalidField(
            "content_retention_h", f"Must be 1 to {CONTENT_RETENTION_H_MAX} hours, or null.", value=retention_h
        )
    after = {"stores_content": stores_content, "content_retention_h": retention_h}
    with transaction.atomic():
        locked = tenancy.locked(organization)
        before = {name: getattr(locked, name) for name in after}
        if before != after:
            audit.record(
                "organization.content",
                actor=actor,
                kind="organization",
                id=locked.organization_id,
                before=before,
                after=after,
                reason=reason,
            )
            locked.stores_content, locked.content_retention_h = stores_content, retention_h
            locked.save(update_fields=[*after, "updated_at"])
    return locked
