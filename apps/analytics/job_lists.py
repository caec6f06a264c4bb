"""Jobs as operators look for them, and how often their calls were repeated."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import CharField, Count, Q, QuerySet, Value
from django.db.models.functions import Cast, Replace

from apps.analytics import usage
from apps.core.ids import parse_uuid
from apps.jobs.models import Call, Job
from apps.teams.models import Team


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs: in any of these states (none: all), of a type, created in a span of time, by a part of their id."""

    statuses: Sequence[str] = ()
    job_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    id_part: str | None = None


def of_team(team: Team, wanted: Wanted) -> QuerySet[Job, Job]:
    """The team's jobs of that kind, newest first."""
    jobs = usage.between(Job.objects.for_team(team), wanted.since, wanted.until)
    if wanted.statuses:
        jobs = jobs.filter(status__in=wanted.statuses)
    if wanted.job_type is not None:
        jobs = jobs.filter(job_type=wanted.job_type)
    if wanted.id_part:
        jobs = with_id_part(jobs, wanted.id_part)
    return jobs.select_related("team", "organization").order_by("-created_at", "-id")


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
