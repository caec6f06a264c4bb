"""Refused calls, kept for those who ask why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from apps.core import clock
from apps.core.errors import DomainError, IdempotencyConflict, InvalidField, NotFound
from apps.core.ids import parse_uuid
from apps.limits.errors import DecisionNotFound
from apps.limits.models import Decision
from apps.teams.models import Team
from apps.virtual_keys.services import Principal

# What a request got wrong is no decision about it.
MISTAKES = (InvalidField, IdempotencyConflict, NotFound)


@dataclass(frozen=True, slots=True)
class Refused:
    """What was asked."""

    job_id: str = ""
    model: str = ""
    user_id: str = ""


def record(
    principal: Principal, error: DomainError, asked: Refused, *, limits: Sequence[dict[str, Any]]
) -> Decision | None:
    """Keep why a call was refused; None for what was only a mistake of the request."""
    if isinstance(error, MISTAKES):
        return None
    return Decision.objects.create(
        organization_id=principal.organization.pk,
        team_id=principal.team.pk,
        key_id=principal.key_id,
        job_id=asked.job_id[:36],
        model=asked.model[:255],
        user_id=asked.user_id[:255],
        code=error.code,
        message=error.message[:1000],
        limits=list(limits),
    )


def find(decision_id: object, *, team: Team | None) -> Decision:
    """A refusal, of this team or (None) of any. Raises: DecisionNotFound."""
    parsed = parse_uuid(decision_id)
    decisions = Decision.objects.all() if team is None else Decision.objects.for_team(team)
    found = decisions.select_related("team", "organization").filter(pk=parsed).first() if parsed else None
    if found is None:
        raise DecisionNotFound
    return found


def matching(
    *,
    team: Team | None,
    organization_id: str | None = None,
    code: str | None = None,
    job_id: str | None = None,
    model: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[Decision, Decision]:
    """Refusals with their owners, of this team or (None) of any, narrowed by what is given; `until` excluded."""
    decisions = Decision.objects.all() if team is None else Decision.objects.for_team(team)
    given = {
        "organization__organization_id": organization_id,
        "code": code,
        "job_id": job_id,
        "model": model,
        "created_at__gte": since,
        "created_at__lt": until,
    }
    narrowed = decisions.filter(**{name: value for name, value in given.items() if value is not None})
    return narrowed.select_related("team", "organization")


def purge(older_than: timedelta, *, limit: int) -> int:
    """Forget refusals past their retention. Bounded per run."""
    old = Decision.objects.filter(created_at__lt=clock.from_now(-older_than.total_seconds())).order_by("created_at")
    return Decision.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:limit])).delete()[0]
