"""Jobs: their list, newest first."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db.models import Case, CharField, DurationField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet, When
from django.db.models import Value as V
from django.db.models.expressions import Combinable
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.analytics import job_lists, job_margin
from apps.console import formats, links
from apps.console.lists import columns
from apps.console.lists.base import Empty
from apps.console.lists.columns import Column
from apps.console.lists.filters import ORGANIZATION, TEAM, Between, Choice, Exact, Uuid, Within
from apps.console.lists.strip import Outcome
from apps.console.lists.work import YES_NO, Condition, Lasting, Metadata, WorkList
from apps.core.ids import parse_uuid
from apps.core.money import MICROS, NANOUSD
from apps.core.spreadsheets import Number
from apps.jobs.models import Call, Job

OUTCOMES = (
    Outcome("completed", "completed", 7),
    Outcome("failed", "failed", 4),
    Outcome("cancelled", "cancelled", 8),
    Outcome("open", "open", 5),
)
_CLOSED_BY = {
    "client": ("its client", Q(closed_by__startswith="key:") | Q(closed_by="call")),
    "sweeper": ("the sweeper", Q(closed_by="sweeper")),
    "deadline": ("its deadline", Q(closed_by="deadline")),
    "operator": ("an operator", Q(closed_by__startswith="operator")),
}


def outcome() -> Case:
    """A job's state, the open ones as one."""
    return Case(When(status__in=Job.OPEN_STATUSES, then=V("open")), default=F("status"), output_field=CharField())


def duration_ms(job: Job) -> int | None:
    """From its creation to its end; None while it is open."""
    return None if job.completed_at is None else (job.completed_at - job.created_at) // timedelta(milliseconds=1)


def team_link(row: Any) -> SafeString:
    """A row's team with its organization below."""
    return format_html(
        '<a href="{}"><bdi>{}</bdi></a> <span class="c-quiet"><bdi>{}</bdi></span>',
        links.team(row.team.team_id),
        formats.harmless(row.team.team_id)[:60],
        formats.harmless(row.organization.organization_id)[:60],
    )


def _calls(job: Job) -> str:
    failed = f", {job.failed_calls} failed" if job.failed_calls else ""
    return f"{formats.count(job.total_calls)}{failed}"


def _duration() -> Column:
    def export(job: Job) -> Any:
        took = duration_ms(job)
        return None if took is None else Number(str(took))

    return Column("Duration", lambda job: formats.duration(duration_ms(job)), export, is_number=True, order="took")


def _calls_with(**asked: Any) -> Q:
    return Q(Exists(Call.objects.filter(job=OuterRef("pk"), **asked)))


class JobList(WorkList):
    title = "Jobs"
    noun = "jobs"
    line = "A job is one business operation: its calls, one charge."
    search_help = "job id, the end of one, or end customer"
    time_field = "created_at"
    outcomes = OUTCOMES
    default_range = "7d"
    export_name = "jobs"
    empty = Empty("They appear when a team calls POST /api/jobs/create.")
    before_template = "console/parts/strip.html"
    columns = (
        columns.ident("Job", lambda job: job.pk, lambda job: links.job(job.pk)),
        columns.when("Created", lambda job: job.created_at),
        Column("Team", team_link, lambda job: job.team.team_id, "second"),
        columns.text("Type", lambda job: job.job_type, place="second"),
        columns.state("State", lambda job: job.status),
        Column("Calls", _calls, lambda job: job.total_calls, is_number=True),
        columns.count("Tokens", lambda job: job.total_tokens, order="tokens"),
        _duration(),
        columns.credits("Charged", lambda job: job.charged_micros, place="amount", order="charged_micros"),
        columns.usd("Provider cost", lambda job: job.cost_nanousd, order="cost_nanousd"),
        Column(
            "Margin",
            lambda job: formats.usd(job.margin_nanousd) if job.is_closed else formats.UNKNOWN,
            lambda job: job.margin_nanousd if job.is_closed else None,
            is_number=True,
        ),
    )
    filters = (
        ORGANIZATION,
        TEAM,
        Uuid("key", "Key", lookup="key_id"),
        Exact("user", "End customer", lookup="user_id"),
        Exact("type", "Type", lookup="job_type"),
        Choice(
            "state",
            "State",
            choices=[("open", "open"), *Job.Status.choices],
            conditions=lambda value: Q(status__in=Job.OPEN_STATUSES) if value == "open" else Q(status=value),
        ),
        Within("closed", "Closed", field="completed_at", help="days or instants"),
        Choice(
            "closed_by",
            "Closed by",
            choices=[(value, words) for value, (words, _) in _CLOSED_BY.items()],
            conditions=lambda value: _CLOSED_BY[value][1],
        ),
        Choice(
            "charged",
            "Charged",
            choices=YES_NO,
            conditions=lambda value: Q(charged_micros__gt=0) if value == "yes" else Q(charged_micros=0),
        ),
        Choice(
            "uncollected",
            "Uncollected",
            choices=YES_NO,
            conditions=lambda value: Q(uncollected_micros__gt=0) if value == "yes" else Q(uncollected_micros=0),
        ),
        Choice(
            "failed_calls",
            "Failed calls",
            choices=YES_NO,
            conditions=lambda value: Q(failed_calls__gt=0) if value == "yes" else Q(failed_calls=0),
        ),
        Condition("model", "Asked model", find=lambda value: _calls_with(model_group_used=value)),
        Condition("error", "Error code", find=lambda value: _calls_with(error_code=value)),
        Between("credits", "Credits charged", field="charged_micros", per=MICROS),
        Between("cost", "Provider cost, USD", field="cost_nanousd", per=NANOUSD),
        Lasting("seconds", "Seconds", field="took"),
        Metadata("metadata", "Metadata", help="key=value"),
    )

    def get_rows(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = Job.objects.select_related("team", "organization").annotate(
            cost_nanousd=F("provider_cost_nanousd") + F("lost_cost_nanousd"),
            tokens=F("prompt_tokens") + F("completion_tokens"),
            took=ExpressionWrapper(F("completed_at") - F("created_at"), output_field=DurationField()),
        )
        return rows

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        whole = parse_uuid(term)
        if whole is not None:
            return rows.filter(pk=whole)
        digits = term.replace("-", "").lower()
        if len(digits) >= 4 and set(digits) <= set("0123456789abcdef"):
            return job_lists.with_id_part(rows, term, or_else=Q(user_id=term))
        return rows.filter(user_id=term)

    def decorate(self, rows: Sequence[Any]) -> None:
        revenue = job_margin.revenue_of(rows)
        for job in rows:
            job.margin_nanousd = job_margin.margin_nanousd(job, revenue.get(str(job.pk)))

    def outcome(self) -> Combinable:
        return outcome()
