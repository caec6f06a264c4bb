"""Jobs as operators look for them, and how often their calls were repeated."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import CharField, Count, Q, QuerySet, Value
from django.db.models.functions import Cast, Replace

from apps.analytics import usage
from apps.core.ids import parse_uuid
from apps.jobs.models import Call, Job
from apps.organizations.models import Organization
from apps.teams.models import Team


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs: in any of these states (none: all), of a type, created in a span of time, by a part of their id."""

    statuses: Sequence[str] = ()
    job_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    id_part: str | None = None
    user_id: str | None = None
    is_charged: bool | None = None


def of_team(team: Team, wanted: Wanted) -> QuerySet[Job, Job]:
    """The team's jobs of that kind, newest first."""
    return matching(wanted, team=team).order_by("-created_at", "-id")


def matching(
    wanted: Wanted, *, team: Team | None = None, organization: Organization | None = None
) -> QuerySet[Job, Job]:
    """Jobs of that kind with their owners: of a team, of an organization, or of all."""
    jobs = usage.between(_owned(Job.objects.all(), team, organization), wanted.since, wanted.until)
    if wanted.statuses:
        jobs = jobs.filter(status__in=wanted.statuses)
    if wanted.job_type is not None:
        jobs = jobs.filter(job_type=wanted.job_type)
    if wanted.id_part:
        jobs = with_id_part(jobs, wanted.id_part)
    if wanted.user_id is not None:
        jobs = jobs.filter(user_id=wanted.user_id)
    if wanted.is_charged is not None:
        charged = Q(charge_state=Job.ChargeState.CHARGED)
        jobs = jobs.filter(charged if wanted.is_charged else ~charged)
    return jobs.select_related("team", "organization")


def calls(
    *,
    team: Team | None = None,
    organization: Organization | None = None,
    job_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    **columns: str | None,
) -> QuerySet[Call, Call]:
    """Calls with their owners, without what was asked and answered: of a team, of an organization, or of all.

    `columns` narrow by `state`, `model`, `provider` and `error_code`; `model` is the name asked for.
    """
    found = _owned(Call.objects.all(), team, organization)
    if job_id is not None:
        parsed = parse_uuid(job_id)
        found = found.filter(job=parsed) if parsed is not None else found.none()
    given = {_COLUMNS.get(name, name): value for name, value in columns.items() if value is not None}
    found = found.filter(**given)
    if since is not None:
        found = found.filter(created_at__gte=since)
    if until is not None:
        found = found.filter(created_at__lt=until)
    return found.select_related("team", "organization")


_COLUMNS = {"model": "model_group_used"}
T = TypeVar("T", Job, Call)


def _owned(rows: QuerySet[T, T], team: Team | None, organization: Organization | None) -> QuerySet[T, T]:
    """Starts from the tenant, so that nothing narrowed afterwards can reach another's."""
    if team is not None:
        rows = rows.filter(team=team)
    return rows if organization is None else rows.filter(organization=organization)


def retries(jobs: Sequence[Job]) -> dict[UUID, int]:
    """By job: its calls beyond the first of each purpose. One query."""
    found = {job.pk: 0 for job in jobs}
    counts = Call.objects.filter(job__in=found).order_by().values_list("job", "purpose").annotate(Count("pk"))
    for job_id, _, calls in counts:
        found[job_id] += calls - 1
    return found


def calls_of(job: Job, *, limit: int, offset: int) -> list[Call]:
    """A page of a job's calls in their order, with what was asked and answered while it is kept."""
    return list(job.calls.select_related("payload")[offset : offset + limit])


def with_id_part(jobs: QuerySet[Any, Any], part: str, *, or_else: Q | None = None) -> QuerySet[Any, Any]:
    """Jobs (or calls) whose id is `part` or has it in it, and those that `or_else` finds. Reads every id of `jobs`
    unless it is whole."""
    whole = parse_uuid(part)
    if whole is not None:
        return jobs.filter(pk=whole)
    # Without dashes, as SQLite keeps an id: both databases find the same.
    digits = part.replace("-", "").lower()
    spelled: QuerySet[Any, Any] = jobs.annotate(digits=Replace(Cast("pk", CharField()), Value("-"), Value("")))
    found = Q(digits__contains=digits)
    matching: QuerySet[Any, Any] = spelled.filter(found | or_else if or_else else found)
    return matching
