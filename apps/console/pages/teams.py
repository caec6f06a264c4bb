"""Teams: their list."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db.models import Count, F, FilteredRelation, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.html import format_html

from apps.console import formats, links, spending, thresholds
from apps.console.lists import columns
from apps.console.lists.base import Empty, ListPage, prefix_or_word
from apps.console.lists.columns import Column
from apps.console.lists.filters import ORGANIZATION, Choice
from apps.console.templatetags import console as tags
from apps.jobs.models import Job
from apps.limits.models import Decision
from apps.teams.models import Team

_QUIET = timedelta(days=30)


def with_wallet(teams: QuerySet[Any]) -> QuerySet[Any]:
    """Teams with what their general wallet has, and its rank of `thresholds`."""
    general = Q(accounts__kind="wallet", accounts__restriction="")
    rows: QuerySet[Any] = (
        teams.annotate(wallet=FilteredRelation("accounts", condition=general))
        .annotate(
            allocated_micros=F("wallet__allocated_micros"),
            held_micros=F("wallet__held_micros"),
            available_micros=F("wallet__posted_micros") - F("wallet__held_micros"),
        )
        .annotate(rank=thresholds.rank("available_micros", "allocated_micros"))
    )
    return rows


def with_activity(teams: QuerySet[Any]) -> QuerySet[Any]:
    """Teams with when their newest job last changed."""
    newest = Job.objects.filter(team=OuterRef("pk")).order_by("-created_at", "-id")
    rows: QuerySet[Any] = teams.annotate(active_at=Subquery(newest.values("active_at")[:1]))
    return rows


def add_recent(teams: Sequence[Any]) -> None:
    """What each spent in 7 days, how long it lasts, and refusals of 24 h. Two queries."""
    spent = spending.in_pace(teams)
    since = timezone.now() - timedelta(hours=24)
    counted = Decision.objects.filter(team__in=list(teams), created_at__gte=since).order_by()
    refused = dict(counted.values_list("team").annotate(Count("pk")))
    for team in teams:
        team.spent_micros = spent.get(team.pk, 0)
        team.days_left = spending.days_left(team.available_micros or 0, team.spent_micros)
        team.refusals = refused.get(team.pk, 0)


def _available(team: Any) -> Any:
    word = thresholds.word_of_rank(team.rank)
    amount = formats.credits(team.available_micros)
    if not word:
        return amount
    share = tags.bar(max(0, team.available_micros), team.allocated_micros)
    return format_html("{} {} {}", amount, tags.state(word), share)


def _refusals(team: Any) -> Any:
    if not team.refusals:
        return "0"
    url = links.listed("limits_decision", team=team.team_id, range="24h")
    return format_html('<a href="{}">{}</a>', url, formats.count(team.refusals))


def _spent(team: Any) -> Any:
    url = links.listed("jobs_job", team=team.team_id, range="7d")
    return format_html('<a href="{}">{}</a>', url, formats.credits(team.spent_micros))


def _id_and_name(team: Any) -> Any:
    return format_html(
        '<a href="{}">{}</a>{}',
        links.team(team.team_id),
        formats.harmless(team.team_id),
        format_html('<br><span class="c-quiet">{}</span>', tags.text(team.alias, 80)) if team.alias else "",
    )


def team_columns(*, with_organization: bool) -> tuple[Column, ...]:
    """The columns of teams, in their list and on their organization's page. The list alone can be sorted."""

    def by(field: str) -> str:
        return field if with_organization else ""

    of = (
        columns.link(
            "Organization",
            lambda team: team.organization.organization_id,
            lambda team: links.organization(team.organization.organization_id),
            place="second",
        ),
    )
    return (
        Column("Team", _id_and_name, lambda team: team.team_id, "first", order=by("team_id")),
        *(of if with_organization else ()),
        columns.state("State", lambda team: team.status),
        Column("Available", _available, _exported("available_micros"), "amount", True, by("rank")),
        columns.credits("Held", lambda team: team.held_micros),
        Column("Days left", lambda team: formats.count(team.days_left), lambda team: team.days_left, "rest", True),
        Column("Spent 7 d", _spent, _exported("spent_micros"), "rest", True),
        Column("Refusals 24 h", _refusals, lambda team: team.refusals, "rest", True),
        columns.when("Last active", lambda team: team.active_at, place="second", order=by("active_at")),
    )


def _exported(name: str) -> Any:
    return columns.credits("", lambda team: getattr(team, name)).export


def _is_quiet(_: str) -> Q:
    return Q(active_at__isnull=True) | Q(active_at__lt=timezone.now() - _QUIET)


class TeamList(ListPage):
    title = "Teams"
    noun = "teams"
    line = "A team holds keys and credits, and makes calls. Who runs out of credits comes first."
    search_help = "team id, name or organization"
    # Within a rank, who was active last comes first.
    ordering = ("rank", "-recent_at", "team_id")
    export_name = "teams"
    empty = Empty("A team holds keys and credits.", "Provision a customer", "/admin/provision/")
    columns = team_columns(with_organization=True)
    filters = (
        Choice("state", "State", choices=Team.Status.choices, lookup="status"),
        Choice(
            "balance",
            "Balance",
            choices=thresholds.CHOICES,
            conditions=lambda word: Q(rank=thresholds.RANKS[word]),
        ),
        ORGANIZATION,
        Choice("quiet", "No activity", choices=[("30d", "for 30 days")], conditions=_is_quiet),
    )

    def get_rows(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = with_activity(with_wallet(Team.objects.select_related("organization")))
        rows = rows.annotate(recent_at=Coalesce("active_at", "created_at"))
        return rows

    def decorate(self, rows: Sequence[Any]) -> None:
        add_recent(rows)

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        found = prefix_or_word(term, starts=("team_id", "organization__organization_id"), contains=("alias",))
        narrowed: QuerySet[Any] = rows.filter(found)
        return narrowed
