"""Calls: their list, and the address of one, which is its place on the job's page."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db.models import Count, DurationField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from apps.console import formats, links
from apps.console.lists import columns
from apps.console.lists.base import Empty
from apps.console.lists.columns import Column
from apps.console.lists.filters import ORGANIZATION, TEAM, Choice, Exact, Within
from apps.console.lists.strip import Outcome
from apps.console.lists.work import YES_NO, Condition, Lasting, WorkList
from apps.console.pages.base import Page
from apps.console.pages.jobs import team_link
from apps.core.ids import parse_uuid
from apps.jobs.errors import CallNotFound
from apps.jobs.models import Attempt, Call

OUTCOMES = (
    Outcome("succeeded", "succeeded", 7),
    Outcome("failed", "failed", 4),
    Outcome("cancelled", "cancelled", 8),
    Outcome("expired", "expired", 3),
    Outcome("running", "running", 5),
    Outcome("queued", "queued", 1),
)


def flags_of(row: Call | Attempt) -> list[str]:
    """What is unusual about how it was counted, in words."""
    said = []
    if row.is_estimated:
        said.append("Counted by us: the provider's usage was missing or absurd")
    if row.usage_mismatch:
        said.append("Classes do not add up to the provider's total")
    if isinstance(row, Call):
        if row.unanswered_at is not None:
            said.append("Its caller left without the answer")
        if row.cancel_requested_at is not None:
            said.append("Its caller asked to stop it")
    return said


def waited_ms(call: Call) -> int | None:
    """From its creation to its first claim, or to its end when nobody took it."""
    until = call.started_at or call.ended_at
    return None if until is None else (until - call.created_at) // timedelta(milliseconds=1)


def took_ms(call: Call) -> int | None:
    return None if call.ended_at is None else (call.ended_at - call.created_at) // timedelta(milliseconds=1)


def _model(call: Call) -> SafeString:
    served = call.resolved_model or call.provider_model
    return format_html(
        '<bdi>{}</bdi> <span class="c-quiet">→ <bdi>{}</bdi></span>',
        formats.harmless(call.model_group_used)[:60],
        formats.harmless(served)[:60],
    )


def _ms(label: str, read: Any) -> Column:
    return Column(label, lambda call: formats.duration(read(call)), read, is_number=True)


def _flags(call: Call) -> SafeString:
    said = flags_of(call)
    return format_html('<span title="{}">{}</span>', ". ".join(said), len(said)) if said else mark_safe("")


def _tried(**asked: Any) -> Q:
    return Q(Exists(Attempt.objects.filter(call=OuterRef("pk"), **asked)))


def _more_than_one() -> QuerySet[Any]:
    """The attempts of a call that tried twice or more: one that came after another of the same call."""
    earlier = Attempt.objects.filter(call=OuterRef("call"), id__lt=OuterRef("id"))
    return Attempt.objects.filter(Exists(earlier), call=OuterRef("pk"))


class CallList(WorkList):
    title = "Calls"
    noun = "calls"
    line = "A call is one request to a model within a job, made in one or more attempts."
    search_help = "call id or job id, each whole"
    time_field = "created_at"
    outcomes = OUTCOMES
    default_range = "24h"
    export_name = "calls"
    empty = Empty("They appear when a team's job calls a model.")
    before_template = "console/parts/strip.html"
    columns = (
        columns.ident("Call", lambda call: call.pk, lambda call: links.call(call.job_id, call.pk)),
        columns.when("Created", lambda call: call.created_at),
        columns.ident("Job", lambda call: call.job_id, lambda call: links.job(call.job_id), place="rest"),
        Column("Team", team_link, lambda call: call.team.team_id, "second"),
        Column("Asked → served", _model, lambda call: f"{call.model_group_used} → {call.provider_model}", "second"),
        columns.state("State", lambda call: call.state),
        columns.count("Attempts", lambda call: call.tries),
        _ms("Waited", waited_ms),
        _ms("Duration", took_ms),
        Column(
            "Tokens in / out",
            lambda call: f"{formats.count(call.prompt_tokens)} / {formats.count(call.completion_tokens)}",
            lambda call: f"{call.prompt_tokens} / {call.completion_tokens}",
            is_number=True,
        ),
        columns.usd("Cost", lambda call: call.provider_cost_nanousd, place="amount", order="provider_cost_nanousd"),
        columns.text("Error", lambda call: call.error_code),
        Column("Flags", _flags, lambda call: ". ".join(flags_of(call))),
    )
    filters = (
        ORGANIZATION,
        TEAM,
        Choice("state", "State", choices=Call.State.choices),
        Within("ended", "Ended", field="ended_at", help="days or instants"),
        Exact("model", "Asked model", lookup="model_group_used"),
        Exact("provider", "Provider"),
        Exact("provider_model", "Served model"),
        Exact("route", "Route"),
        Condition("worker", "Worker", find=lambda value: _tried(worker=value)),
        Exact("error", "Error code", lookup="error_code"),
        Choice(
            "attempts",
            "Attempts",
            choices=(("2", "2 or more"),),
            conditions=lambda value: Q(Exists(_more_than_one())),
        ),
        Choice(
            "flagged",
            "Flagged",
            choices=YES_NO,
            conditions=lambda value: _flagged() if value == "yes" else ~_flagged(),
        ),
        Choice(
            "estimated",
            "Estimated",
            choices=YES_NO,
            conditions=lambda value: Q(is_estimated=value == "yes"),
        ),
        Lasting("waited", "Seconds waited", field="waited"),
    )

    def get_rows(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = Call.objects.select_related("team", "organization").annotate(
            waited=ExpressionWrapper(F("started_at") - F("created_at"), output_field=DurationField())
        )
        return rows

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        whole = parse_uuid(term)
        return rows.none() if whole is None else rows.filter(Q(pk=whole) | Q(job=whole))

    def decorate(self, rows: Sequence[Any]) -> None:
        counted = Attempt.objects.filter(call__in=[call.pk for call in rows]).order_by()
        tries = dict(counted.values_list("call").annotate(Count("pk")))
        for call in rows:
            call.tries = tries.get(call.pk, 0)

    def outcome(self) -> Combinable:
        return F("state")


def _flagged() -> Q:
    return Q(is_estimated=True) | Q(usage_mismatch=True) | Q(unanswered_at__isnull=False)


class CallPage(Page):
    """`/admin/call/<call_id>/` leads to the job's page at that call."""

    def get(self, request: HttpRequest, call_id: str = "", **kwargs: Any) -> HttpResponse:
        parsed = parse_uuid(call_id)
        call = Call.objects.filter(pk=parsed).only("job_id").first() if parsed else None
        if call is None:
            raise CallNotFound(f"There is no call {call_id[:60]}.")
        return HttpResponseRedirect(links.call(call.job_id, call.pk))
