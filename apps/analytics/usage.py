"""What jobs came to, summed up by what they have in common. Read from the jobs' own totals (docs/usage.md).

Jobs and their calls count for the instant at which the job was created. Every grouping of the same jobs sums up to
the same figures.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import TruncDate

from apps.core.money import PPM
from apps.jobs.models import Call, Job

Jobs = QuerySet[Job, Job]
# Of one job: the sums of each model's calls, and their weights.
Parts = tuple[list[dict[str, Any]], list[int]]


@dataclass(slots=True)
class Usage:
    """Figures of some jobs. `client_cost_ppm` is the client's cost, the provider's with each job's markup, in
    millionths of a nano-dollar: rounded once, when it is shown, so that parts add up. `unbilled_cost_nanousd` is that
    part of the provider's cost that is of jobs which were charged nothing. What `unpriced_calls` cost is unknown."""

    jobs: int = 0
    pending: int = 0
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    calls: int = 0
    successful_calls: int = 0
    failed_calls: int = 0
    unpriced_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    provider_cost_nanousd: int = 0
    unbilled_cost_nanousd: int = 0
    lost_cost_nanousd: int = 0
    client_cost_ppm: int = 0
    charged_micros: int = 0
    uncollected_micros: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def client_cost_nanousd(self) -> int:
        return self.client_cost_ppm // PPM

    def add(self, other: "Usage") -> None:
        """Count another's figures in."""
        for name in _FIGURES:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_FIGURES = tuple(field.name for field in fields(Usage))
_SUMS = {
    # Before the sums that have the names of its columns.
    "unbilled_cost_nanousd": Sum("provider_cost_nanousd", filter=Q(charged_micros=0), default=0),
    "jobs": Count("pk"),
    "pending": Count("pk", filter=Q(status=Job.Status.PENDING)),
    "in_progress": Count("pk", filter=Q(status__in=[Job.Status.IN_PROGRESS, Job.Status.PAUSED])),
    "completed": Count("pk", filter=Q(status=Job.Status.COMPLETED)),
    "failed": Count("pk", filter=Q(status=Job.Status.FAILED)),
    "cancelled": Count("pk", filter=Q(status=Job.Status.CANCELLED)),
    "calls": Sum("total_calls"),
    "successful_calls": Sum("successful_calls"),
    "failed_calls": Sum("failed_calls"),
    "unpriced_calls": Sum("unpriced_calls"),
    "prompt_tokens": Sum("prompt_tokens"),
    "completion_tokens": Sum("completion_tokens"),
    "provider_cost_nanousd": Sum("provider_cost_nanousd"),
    "lost_cost_nanousd": Sum("lost_cost_nanousd"),
    "charged_micros": Sum("charged_micros"),
    "uncollected_micros": Sum("uncollected_micros"),
}
_SUMS_OF_CALLS = {
    "calls": Count("pk"),
    "successful_calls": Count("pk", filter=Q(state=Call.State.SUCCEEDED)),
    "failed_calls": Count("pk", filter=~Q(state__in=[*Call.OPEN_STATES, Call.State.SUCCEEDED])),
    "prompt_tokens": Sum("prompt_tokens"),
    "completion_tokens": Sum("completion_tokens"),
    "provider_cost_nanousd": Sum("provider_cost_nanousd"),
}
# What jobs can be grouped by, but for their models.
DIMENSIONS: dict[str, Any] = {
    "job_type": F("job_type"),
    "user": F("user_id"),
    "key": F("key_id"),
    "team": F("team__team_id"),
    "organization": F("organization__organization_id"),
    "day": TruncDate("created_at", tzinfo=UTC),
}


def between(jobs: Jobs, since: datetime | None, until: datetime | None) -> Jobs:
    """Of these jobs, those created from `since` to before `until`."""
    if since is not None:
        jobs = jobs.filter(created_at__gte=since)
    return jobs if until is None else jobs.filter(created_at__lt=until)


def grouped(jobs: Jobs, by: str) -> dict[str, Usage]:
    """Usage by one of DIMENSIONS or by `model`, in the order of its values."""
    if by == "model":
        return by_model(jobs)
    found: dict[str, Usage] = {}
    for key, line in _lines(jobs, DIMENSIONS[by]):
        found.setdefault(str(key), Usage()).add(line)
    return dict(sorted(found.items()))


def total(lines: dict[str, Usage]) -> Usage:
    """The sum of groups."""
    summed = Usage()
    for line in lines.values():
        summed.add(line)
    return summed


def by_model(jobs: Jobs, *, several: Iterable[Parts] | None = None) -> dict[str, Usage]:
    """Usage by the name asked for, one that no call asked for being empty.

    Calls, tokens and the provider's cost are those of each model's calls. The rest of a job that asked for several
    (itself, what it was charged, what was lost) is split among them by what their calls cost, else by their number.
    `several` is `parts_of_several` of these jobs, for who has it.
    """
    found: dict[str, Usage] = {}
    for names, line in _lines(jobs, F("model_groups_used")):
        if len(names) < 2:
            found.setdefault(names[0] if names else "", Usage()).add(line)
    for parts, weights in parts_of_several(jobs) if several is None else several:
        for name, line in _split(parts, weights):
            found.setdefault(name, Usage()).add(line)
    return dict(sorted(found.items()))


def _lines(jobs: Jobs, by: Any) -> Iterator[tuple[Any, Usage]]:
    """Sums by a dimension and by markup, which is frozen on each job and may have changed in the meantime."""
    rows = jobs.order_by().values(group=by, markup_ppm=F("terms__markup_ppm")).annotate(**_SUMS)
    for row in rows.iterator():
        group, markup_ppm = row.pop("group"), row.pop("markup_ppm") or 0
        yield group, Usage(**row, client_cost_ppm=row["provider_cost_nanousd"] * (PPM + markup_ppm))


def parts_of_several(jobs: Jobs) -> Iterator[Parts]:
    """Of each job that asked for several models: the sums of each model's calls, and how much each weighs."""
    parts: list[dict[str, Any]] = []
    for row in _calls_of(jobs.filter(model_groups_used__1__isnull=False)).iterator():
        if parts and row["job"] != parts[0]["job"]:
            yield parts, _weights(parts)
            parts = []
        parts.append(row)
    if parts:
        yield parts, _weights(parts)


def _weights(parts: list[dict[str, Any]]) -> list[int]:
    costs = [part["provider_cost_nanousd"] for part in parts]
    return costs if any(costs) else [part["calls"] for part in parts]


def _calls_of(jobs: Jobs) -> Any:
    """The calls of jobs, summed up by job and model, with the job's own figures, job after job."""
    return (
        Call.objects.filter(job__in=jobs.order_by().values("pk"))
        .order_by("job", "model_group_used")
        .values(
            "job",
            model=F("model_group_used"),
            status=F("job__status"),
            markup_ppm=F("job__terms__markup_ppm"),
            unpriced=F("job__unpriced_calls"),
            charged=F("job__charged_micros"),
            uncollected=F("job__uncollected_micros"),
            lost=F("job__lost_cost_nanousd"),
        )
        .annotate(**_SUMS_OF_CALLS)
    )


def _split(parts: list[dict[str, Any]], weights: list[int]) -> Iterator[tuple[str, Usage]]:
    job = parts[0]
    unpriced = shares(job["unpriced"], [part["calls"] for part in parts])
    charged, uncollected, lost = (shares(job[name], weights) for name in ("charged", "uncollected", "lost"))
    # A job is counted once, for the model that weighs most.
    heaviest = weights.index(max(weights))
    status = "in_progress" if job["status"] == Job.Status.PAUSED else job["status"]
    for index, part in enumerate(parts):
        provider_nanousd = part["provider_cost_nanousd"]
        line = Usage(
            calls=part["calls"],
            successful_calls=part["successful_calls"],
            failed_calls=part["failed_calls"],
            unpriced_calls=unpriced[index],
            prompt_tokens=part["prompt_tokens"],
            completion_tokens=part["completion_tokens"],
            provider_cost_nanousd=provider_nanousd,
            unbilled_cost_nanousd=0 if job["charged"] else provider_nanousd,
            client_cost_ppm=provider_nanousd * (PPM + (part["markup_ppm"] or 0)),
            charged_micros=charged[index],
            uncollected_micros=uncollected[index],
            lost_cost_nanousd=lost[index],
        )
        if index == heaviest:
            line.jobs = 1
            setattr(line, status, 1)
        yield part["model"], line


def shares(amount: int, weights: list[int]) -> list[int]:
    """An amount in whole parts by weights (not all 0) that sum up to it."""
    whole, before, given = sum(weights), 0, 0
    parts = []
    for weight in weights:
        before += weight
        upto = amount * before // whole
        parts.append(upto - given)
        given = upto
    return parts


def by_provider(jobs: Jobs) -> dict[str, Usage]:
    """Calls, tokens and costs by the provider that was asked, of a model without one by its route. Counts no jobs."""
    rows = (
        Call.objects.filter(job__in=jobs.order_by().values("pk"))
        .order_by()
        .values("provider", "route", markup_ppm=F("job__terms__markup_ppm"))
        .annotate(**_SUMS_OF_CALLS)
    )
    found: dict[str, Usage] = {}
    for row in rows.iterator():
        provider, route, markup_ppm = row.pop("provider"), row.pop("route"), row.pop("markup_ppm") or 0
        cost_ppm = row["provider_cost_nanousd"] * (PPM + markup_ppm)
        found.setdefault(provider or route, Usage()).add(Usage(**row, client_cost_ppm=cost_ppm))
    return dict(sorted(found.items()))
