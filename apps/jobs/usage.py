"""What a team's jobs of a period came to, by job type. Read from the jobs' own totals in one aggregate query."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, F, Q, Sum

from apps.credits import pricing
from apps.jobs.models import Job
from apps.teams.models import Team


@dataclass(slots=True)
class Usage:
    """Jobs counted by when they were created. The cost is the client's: provider cost with each job's markup."""

    jobs: int = 0
    completed: int = 0
    failed: int = 0
    tokens: int = 0
    client_cost_nanousd: int = 0
    charged_micros: int = 0

    def add(self, other: "Usage") -> None:
        """Count another's figures in."""
        self.jobs += other.jobs
        self.completed += other.completed
        self.failed += other.failed
        self.tokens += other.tokens
        self.client_cost_nanousd += other.client_cost_nanousd
        self.charged_micros += other.charged_micros


def by_job_type(team: Team, *, since: datetime, until: datetime) -> dict[str, Usage]:
    """Usage by job type, of the jobs created from `since` to before `until`.

    Grouped by markup too, since that is frozen on each job and may have changed within the period.
    """
    rows = (
        Job.objects.for_team(team)
        .filter(created_at__gte=since, created_at__lt=until)
        .order_by()
        .values("job_type", markup_ppm=F("terms__markup_ppm"))
        .annotate(
            jobs=Count("pk"),
            completed=Count("pk", filter=Q(status=Job.Status.COMPLETED)),
            failed=Count("pk", filter=Q(status=Job.Status.FAILED)),
            prompt=Sum("prompt_tokens"),
            completion=Sum("completion_tokens"),
            provider_nanousd=Sum("provider_cost_nanousd"),
            charged=Sum("charged_micros"),
        )
    )
    found: dict[str, Usage] = {}
    for row in rows:
        found.setdefault(row["job_type"], Usage()).add(
            Usage(
                jobs=row["jobs"],
                completed=row["completed"],
                failed=row["failed"],
                tokens=row["prompt"] + row["completion"],
                client_cost_nanousd=pricing.client_cost_nanousd(
                    row["provider_nanousd"], markup_ppm=row["markup_ppm"] or 0
                ),
                charged_micros=row["charged"],
            )
        )
    return dict(sorted(found.items()))
