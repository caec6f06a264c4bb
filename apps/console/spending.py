"""What teams were charged of late, from their jobs: bounded by the time asked about.

One place, so that rollups can take it over.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.db.models import Q, Sum
from django.db.models.functions import TruncDate
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from apps.console import formats
from apps.console.charts import SERIES_MAX, Chart, Series
from apps.core.money import MICROS
from apps.jobs.models import Job
from apps.organizations.models import Organization
from apps.teams.models import Team

PACE = timedelta(days=7)
DAYS = 30
_OTHER = "Other"


@dataclass(frozen=True, slots=True)
class Spent:
    """Micros that jobs begun on a day were charged, by a label: their type, or their team."""

    day: date
    label: str
    micros: int


def by_day(owner: Team | Organization, *, label: str, zone: ZoneInfo, days: int = DAYS) -> list[Spent]:
    """What jobs of the last days were charged, by day of `zone` and by `label`, a field of jobs. One query."""
    jobs = Job.objects.filter(_of(owner), created_at__gte=_start(zone, days))
    rows = (
        jobs.annotate(day=TruncDate("created_at", tzinfo=zone))
        .values_list("day", label)
        .annotate(micros=Sum("charged_micros"))
        .order_by("day", label)
    )
    return [Spent(day, named, micros) for day, named, micros in rows if micros]


def in_pace(teams: Iterable[Team]) -> dict[int, int]:
    """Micros that each team's jobs of the last 7 days were charged, by its primary key. One query."""
    rows = Job.objects.filter(team__in=list(teams), created_at__gte=timezone.now() - PACE).order_by()
    return dict(rows.values_list("team").annotate(Sum("charged_micros")))


def days_left(spendable_micros: int, in_pace_micros: int) -> int | None:
    """Whole days that this lasts at the pace of the last 7; None when nothing was spent."""
    if in_pace_micros <= 0:
        return None
    return max(0, spendable_micros) * PACE.days // in_pace_micros


def chart(spent: Sequence[Spent], *, title: str, zone: ZoneInfo, links_to: dict[str, str], days: int = DAYS) -> Chart:
    """Stacked bars, a day each; a bar leads to the jobs of that day, by instants."""
    first = _start(zone, days).astimezone(zone).date()
    shown = [first + timedelta(days=number) for number in range(days)]
    by_label: dict[str, dict[date, int]] = defaultdict(lambda: defaultdict(int))
    for each in spent:
        by_label[each.label][each.day] += each.micros
    series = [
        Series(
            formats.harmless(label)[:60] or "no type",
            [amounts.get(day, 0) / MICROS for day in shown],
            [formats.credits(amounts.get(day, 0)) for day in shown],
        )
        for label, amounts in _largest(by_label)
    ]
    total = sum(each.micros for each in spent)
    return Chart(
        id="spent",
        title=title,
        kind="stacked",
        labels=[f"{day.day} {day:%b}" for day in shown],
        series=series,
        summary=f"{formats.credits_in_words(total)} charged in {days} days.",
        unit="credits",
        links=[_jobs_of(day, zone, links_to) for day in shown],
        note=f"Jobs by the day they began, {zone.key}.",
        empty=f"No job of the last {days} days was charged.",
    )


def _largest(by_label: dict[str, dict[date, int]]) -> list[tuple[str, dict[date, int]]]:
    ordered = sorted(by_label.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    if len(ordered) <= SERIES_MAX:
        return ordered
    rest: dict[date, int] = defaultdict(int)
    for _, amounts in ordered[SERIES_MAX:]:
        for day, micros in amounts.items():
            rest[day] += micros
    return [*ordered[:SERIES_MAX], (_OTHER, rest)]


def _jobs_of(day: date, zone: ZoneInfo, links_to: dict[str, str]) -> str:
    ends = day + timedelta(days=1)
    edges = {"from": _instant(day, zone), "to": _instant(ends, zone)}
    query = links_to | {name: instant.isoformat() for name, instant in edges.items()}
    return f"{reverse('admin:jobs_job_changelist')}?{urlencode(query)}"


def _instant(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone)


def _start(zone: ZoneInfo, days: int) -> datetime:
    return _instant(timezone.now().astimezone(zone).date() - timedelta(days=days - 1), zone)


def _of(owner: Team | Organization) -> Q:
    return Q(team=owner) if isinstance(owner, Team) else Q(organization=owner)
