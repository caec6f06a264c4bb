"""Organizations: their list."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.html import format_html

from apps.catalog.models import ProviderCredential
from apps.console import formats, links, thresholds
from apps.console.lists import columns
from apps.console.lists.base import Empty, ListPage, prefix_or_word
from apps.console.lists.columns import Column
from apps.console.lists.filters import Choice
from apps.console.pages.teams import with_wallet
from apps.console.templatetags import console as tags
from apps.credits.models import Account
from apps.jobs.models import Job
from apps.organizations.models import Organization
from apps.teams.models import Team

_RECENT = timedelta(days=30)


def _name(organization: Any) -> Any:
    return format_html(
        '<a href="{}"><bdi>{}</bdi></a><br><span class="c-quiet">{}</span>',
        links.organization(organization.organization_id),
        formats.harmless(organization.name)[:120],
        tags.text(organization.organization_id, 60),
    )


def _spent(organization: Any) -> Any:
    url = links.listed("jobs_job", organization=organization.organization_id, range="30d")
    return format_html('<a href="{}">{}</a>', url, formats.credits(organization.spent_micros))


def _runs_low(_: str) -> Q:
    low = with_wallet(Team.objects.filter(status=Team.Status.ACTIVE)).filter(rank__lte=thresholds.RANKS["low"])
    return Q(pk__in=low.values("organization"))


def _has_own(_: str) -> Q:
    own = ProviderCredential.objects.filter(organization=OuterRef("pk"), is_active=True)
    return Q(Exists(own))


class OrganizationList(ListPage):
    title = "Organizations"
    noun = "organizations"
    line = "An organization is a customer. Its teams hold keys and credits."
    search_help = "organization id or name"
    ordering = ("-recent_at", "organization_id")
    export_name = "organizations"
    empty = Empty("An organization is a customer of yours.", "Provision a customer", "/admin/provision/")
    columns = (
        Column("Organization", _name, lambda row: row.organization_id, "first", order="organization_id"),
        columns.state("State", lambda row: row.status),
        columns.count("Teams", lambda row: row.teams_count),
        columns.credits("Available", lambda row: row.available_micros, place="amount"),
        Column("Spent 30 d", _spent, columns.credits("", lambda row: row.spent_micros).export, "rest", True),
        columns.usd("Provider cost 30 d", lambda row: row.cost_nanousd),
        columns.when("Last active", lambda row: row.active_at, order="active_at"),
        columns.when("Created", lambda row: row.created_at, place="rest", order="created_at"),
    )
    filters = (
        Choice("state", "State", choices=Organization.Status.choices, lookup="status"),
        Choice("balance", "Balance", choices=[("low", "a team is low or critical")], conditions=_runs_low),
        Choice("credentials", "Provider credentials", choices=[("own", "its own")], conditions=_has_own),
    )

    def get_rows(self) -> QuerySet[Any]:
        newest = Job.objects.filter(organization=OuterRef("pk")).order_by("-created_at", "-id")
        rows: QuerySet[Any] = Organization.objects.annotate(active_at=Subquery(newest.values("active_at")[:1]))
        rows = rows.annotate(recent_at=Coalesce("active_at", "created_at"))
        return rows

    def decorate(self, rows: Sequence[Any]) -> None:
        """Three queries, whatever the number of rows."""
        found = list(rows)
        teams = Team.objects.filter(organization__in=found).exclude(status=Team.Status.CLOSED).order_by()
        counted = dict(teams.values_list("organization").annotate(Count("pk")))
        available = available_in(found)
        jobs = Job.objects.filter(organization__in=found, created_at__gte=timezone.now() - _RECENT).order_by()
        sums = {
            pk: (micros, nanousd)
            for pk, micros, nanousd in jobs.values_list("organization").annotate(
                micros=Sum("charged_micros"), nanousd=Sum(F("provider_cost_nanousd") + F("lost_cost_nanousd"))
            )
        }
        for row in found:
            row.teams_count = counted.get(row.pk, 0)
            row.available_micros = available.get(row.pk, 0)
            row.spent_micros, row.cost_nanousd = sums.get(row.pk, (0, 0))

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(prefix_or_word(term, starts=("organization_id",), contains=("name",)))


def available_in(organizations: Sequence[Organization]) -> dict[int, int]:
    """Micros that can be spent in each organization's pool and wallets, by its primary key. One query."""
    owned = Q(organization__in=organizations) | Q(team__organization__in=organizations)
    accounts = Account.objects.filter(owned).annotate(owner=Coalesce("organization", "team__organization")).order_by()
    return dict(accounts.values_list("owner").annotate(sum=Sum(F("posted_micros") - F("held_micros"))))
