"""One organization: its pool and teams, what they spend, members, limits, cards, credentials, statements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Sum
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from apps.catalog.models import ProviderCredential
from apps.console import activity, formats, limit_tables, links, spending, wallet
from apps.console.lists import columns
from apps.console.lists.columns import Column
from apps.console.pages.base import Button, Crumb, ObjectPage, Tab
from apps.console.pages.members import member_columns
from apps.console.pages.teams import add_recent, team_columns, with_activity, with_wallet
from apps.console.rate_tables import cards_of
from apps.console.tables import SHOWN_MAX, Table
from apps.console.templatetags import console as tags
from apps.credits import lots
from apps.credits.billing import Balance, balance_of
from apps.credits.models import Account, Period
from apps.jobs.models import Job
from apps.limits import services as limits
from apps.limits.models import Scope
from apps.organizations import members, services
from apps.organizations.models import Organization
from apps.organizations.rights import Right
from apps.teams.models import Team

_TABLES = "console/pages/tables.html"
_MONTHS = 12


class OrganizationPage(ObjectPage):
    route = "org"
    tabs = (
        Tab("", "Overview", _TABLES),
        Tab("teams", "Teams", _TABLES),
        Tab("pool", "Pool", _TABLES),
        Tab("members", "Members", _TABLES),
        Tab("limits", "Limits", _TABLES),
        Tab("rate-cards", "Rate cards", _TABLES),
        Tab("credentials", "Credentials", _TABLES),
        Tab("statements", "Statements", _TABLES),
        Tab("settings", "Settings", _TABLES),
        Tab("activity", "Activity", _TABLES),
    )
    obj: Organization

    def load(self, organization_id: str = "", **kwargs: Any) -> None:
        self.obj = services.find(organization_id)
        self.title = self.obj.name
        self.zone = ZoneInfo(self.obj.time_zone)
        pool = lots.pool_of(self.obj)
        self.pool = balance_of(pool) if pool is not None else Balance()
        self.pool_account = pool
        wallets = Account.objects.filter(team__organization=self.obj, kind=Account.Kind.WALLET)
        sums = wallets.aggregate(posted=Sum("posted_micros"), held=Sum("held_micros"))
        self.in_wallets_micros, self.held_micros = sums["posted"] or 0, sums["held"] or 0
        self.spent_micros = self._spent_this_month()

    def _spent_this_month(self) -> int:
        first = timezone.now().astimezone(self.zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        jobs = Job.objects.filter(organization=self.obj, created_at__gte=first)
        return jobs.aggregate(sum=Sum("charged_micros"))["sum"] or 0

    def url_kwargs(self) -> dict[str, Any]:
        return {"organization_id": self.obj.organization_id}

    def crumbs(self) -> Sequence[Crumb]:
        return (Crumb("Organizations", reverse("admin:organizations_organization_changelist")),)

    def state(self) -> str:
        return self.obj.status

    def sentence(self) -> str:
        if self.obj.status == Organization.Status.ACTIVE:
            in_pool = formats.credits_in_words(self.pool.spendable_micros)
            in_wallets = formats.credits(self.in_wallets_micros - self.held_micros)
            return f"Active. {in_pool} available in its pool, {in_wallets} in its teams' wallets."
        why = f": “{self.obj.status_reason}”" if self.obj.status_reason else ""
        return (
            f"Suspended{why}. Its teams open no job and start no call; running calls finish; completing and"
            " reading work."
        )

    def facts(self) -> Sequence[tuple[str, Any]]:
        return (
            ("Pool", formats.credits(self.pool.spendable_micros)),
            ("In wallets", formats.credits(self.in_wallets_micros)),
            ("Held", formats.credits(self.held_micros)),
            ("Spent this month", formats.credits(self.spent_micros)),
        )

    def about(self) -> Sequence[tuple[str, Any]]:
        return (
            ("Id", tags.ident(self.obj.organization_id)),
            ("Time zone", self.obj.time_zone),
            ("Currency", self.obj.display_currency),
            ("Created", tags.when(self.obj.created_at)),
            ("API", format_html("<code>GET /api/organizations/{}</code>", self.obj.organization_id)),
        )

    def buttons(self) -> Sequence[Button]:
        kwargs = self.url_kwargs()
        new_team = f"{reverse('admin:provision')}?organization={self.obj.organization_id}"
        state = (
            Button("Suspend", reverse("admin:org_suspend", kwargs=kwargs), Right.STATE_WRITE)
            if self.obj.status == Organization.Status.ACTIVE
            else Button("Resume", reverse("admin:org_resume", kwargs=kwargs), Right.STATE_WRITE, is_main=True)
        )
        return (
            # Members alone may be changed by who holds this right in part.
            *([Button("New team", new_team, Right.CUSTOMERS_WRITE, is_main=True)] if self.may_edit() else []),
            *links.buttons(("Grant to pool", "org_grant", Right.CREDITS_WRITE), **kwargs),
            state,
            *self.edit_buttons(),
        )

    def edit_buttons(self) -> list[Button]:
        if not self.may_edit():
            return []
        return [Button("Edit", reverse("admin:org_edit", kwargs=self.url_kwargs()), Right.CUSTOMERS_WRITE)]

    def may_edit(self) -> bool:
        return self.operator.holds(Right.CUSTOMERS_WRITE)

    def of_tab(self, *wanted: tuple[str, str, Right]) -> list[Button]:
        found = links.buttons(*wanted, **self.url_kwargs())
        return [button for button in found if self.operator.holds(button.right, within=True)]

    def tab_overview(self) -> dict[str, Any]:
        spent = spending.by_day(self.obj, label="team__team_id", zone=self.zone)
        title = "Credits charged a day, by team"
        about = {"organization": self.obj.organization_id}
        return {
            "drawn": spending.chart(spent, title=title, zone=self.zone, links_to=about),
            "tables": [self._teams(10)],
        }

    def tab_teams(self) -> dict[str, Any]:
        return {"tables": [self._teams(SHOWN_MAX)]}

    def _teams(self, most: int) -> Table:
        rows = with_activity(with_wallet(Team.objects.filter(organization=self.obj)))
        found = list(rows.order_by("rank", "team_id")[:most])
        add_recent(found)
        url = links.listed("teams_team", organization=self.obj.organization_id)
        empty = "No teams yet. A team holds keys and credits."
        return Table("Teams", team_columns(with_organization=False), found, empty, "All its teams", url)

    def tab_pool(self) -> dict[str, Any]:
        accounts = [self.pool_account] if self.pool_account is not None else []
        buttons = self.of_tab(
            ("Grant to pool", "org_grant", Right.CREDITS_WRITE),
            ("Allocate to a team", "org_allocate", Right.CREDITS_WRITE),
            ("Reclaim from a team", "org_reclaim", Right.CREDITS_WRITE),
        )
        return {
            "said": wallet.equation(self.pool),
            "page_buttons": buttons,
            "tables": [wallet.lot_table(accounts), *wallet.entry_tables(accounts)],
        }

    def tab_members(self) -> dict[str, Any]:
        may_change = self.operator.holds(Right.CUSTOMERS_WRITE, within=True)
        table = Table(
            "Members",
            member_columns(with_organization=False, may_change=may_change),
            list(members.listing(self.obj).select_related("organization")[:SHOWN_MAX]),
            "No members. They are the customer's people who sign in.",
        )
        buttons = self.of_tab(("Invite a member", "org_invite", Right.CUSTOMERS_WRITE))
        return {"page_buttons": buttons, "tables": [table]}

    def tab_limits(self) -> dict[str, Any]:
        id_ = self.obj.organization_id
        found = list(limits.matching(scope=Scope.ORGANIZATION, subject_id=id_)[:SHOWN_MAX])
        empty = "None of its own. The platform's limits and its teams' own hold."
        return {"tables": [limit_tables.own("Its own limits", found, empty)]}

    def tab_rate_cards(self) -> dict[str, Any]:
        return {"tables": [cards_of(self.obj)]}

    def tab_credentials(self) -> dict[str, Any]:
        found = ProviderCredential.objects.filter(organization=self.obj).order_by("provider", "name")
        table = Table(
            "Its own provider credentials",
            (
                columns.text("Name", lambda row: row.name, place="first"),
                columns.plain("Provider", lambda row: row.provider, place="second"),
                columns.text("Address", lambda row: row.api_base or "the provider's"),
                columns.state("State", lambda row: "active" if row.is_active else "inactive"),
                columns.when("Changed", lambda row: row.updated_at),
            ),
            list(found[:SHOWN_MAX]),
            "None: its calls go out with the platform's.",
            "All provider credentials",
            links.listed("catalog_providercredential", organization=self.obj.organization_id),
        )
        return {"tables": [table]}

    def tab_statements(self) -> dict[str, Any]:
        months = _months(self.obj.created_at, most=_MONTHS)
        closed = set(Period.objects.filter(pk__in=months).values_list("pk", flat=True))
        rows = [Statement(self.obj.organization_id, name, name in closed, name == months[0]) for name in months]
        table = Table(
            "Statements",
            (
                Column("Month", _month_link, lambda row: row.month, "first"),
                columns.plain("Books", lambda row: row.books, place="second"),
                Column("API", _api, lambda row: row.path, "rest"),
            ),
            rows,
            "",
            note="Months of UTC. A closed month never changes.",
        )
        return {"tables": [table]}

    def tab_settings(self) -> dict[str, Any]:
        rows = (
            ("Name", tags.text(self.obj.name)),
            ("Time zone", self.obj.time_zone),
            ("Display currency", self.obj.display_currency),
            ("Metadata", tags.pretty_json(self.obj.metadata)),
        )
        table = Table(
            "Settings",
            (
                columns.plain("Setting", lambda row: row[0], place="first"),
                Column("Value", lambda row: row[1], lambda row: "", "second"),
            ),
            rows,
            "",
            note="Its days, weeks and months begin in its time zone.",
        )
        return {"page_buttons": self.edit_buttons(), "tables": [table]}

    def tab_activity(self) -> dict[str, Any]:
        return {"tables": [activity.timeline("organization", self.obj.organization_id)]}


@dataclass(frozen=True, slots=True)
class Statement:
    """A month of an organization's books."""

    organization_id: str
    month: str
    is_closed: bool
    is_current: bool

    @property
    def books(self) -> str:
        return "closed" if self.is_closed else "so far" if self.is_current else "open"

    @property
    def path(self) -> str:
        return f"/api/organizations/{self.organization_id}/statements/{self.month}"


def _month_link(row: Statement) -> Any:
    url = links.maybe("statement", organization_id=row.organization_id, period=row.month)
    return format_html('<a href="{}">{}</a>', url, row.month) if url else row.month


def _api(row: Statement) -> Any:
    return format_html("<code>GET {}</code>", row.path)


def _months(since: datetime, *, most: int) -> list[str]:
    """The months of UTC since an instant, this one first, as YYYY-MM."""
    now = timezone.now()
    found: list[str] = []
    year, month = now.year, now.month
    while len(found) < most and (year, month) >= (since.year, since.month):
        found.append(f"{year}-{month:02}")
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    return found
