"""Teams: their list, and one team."""

from collections.abc import Sequence
from typing import Any

from django.db.models import F, OuterRef, QuerySet, Subquery
from django.urls import reverse

from apps.console import formats
from apps.console.lists import columns
from apps.console.lists.base import Empty, ListPage, prefix_or_word
from apps.console.lists.filters import Choice, Known
from apps.console.pages.base import Button, Crumb, ObjectPage, Tab
from apps.console.templatetags import console as tags
from apps.credits import billing
from apps.credits.models import Account
from apps.organizations.models import Organization
from apps.organizations.rights import Right
from apps.teams import services
from apps.teams.models import Team


def url_of(team: Team) -> str:
    return reverse("admin:team", kwargs={"team_id": team.team_id})


class TeamList(ListPage):
    title = "Teams"
    noun = "teams"
    line = "A team holds keys and credits, and makes calls."
    search_help = "team id, name or organization"
    ordering = ("team_id",)
    export_name = "teams"
    empty = Empty("A team holds keys and credits.")
    columns = (
        columns.link("Team", lambda team: team.team_id, url_of, order="team_id"),
        columns.text("Name", lambda team: team.alias),
        columns.text("Organization", lambda team: team.organization.organization_id, place="second"),
        columns.state("State", lambda team: team.status),
        columns.credits("Available", lambda team: team.available_micros, place="amount", order="available_micros"),
        columns.credits("Held", lambda team: team.held_micros, order="held_micros"),
        columns.when("Created", lambda team: team.created_at, place="rest", order="created_at"),
    )
    filters = (
        Choice("state", "State", choices=Team.Status.choices, lookup="status"),
        Known(
            "organization",
            "Organization",
            find=lambda value: Organization.objects.filter(organization_id=value).first(),
        ),
    )

    def get_rows(self) -> QuerySet[Any]:
        wallet = Account.objects.filter(team=OuterRef("pk"), kind=Account.Kind.WALLET, restriction="")
        rows: QuerySet[Any] = Team.objects.select_related("organization").annotate(
            available_micros=Subquery(wallet.values(amount=F("posted_micros") - F("held_micros"))[:1]),
            held_micros=Subquery(wallet.values("held_micros")[:1]),
        )
        return rows

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        found = prefix_or_word(term, starts=("team_id", "organization__organization_id"), contains=("alias",))
        return rows.filter(found)


class TeamPage(ObjectPage):
    route = "team"
    tabs = (Tab("", "Overview", "console/pages/team/overview.html"),)
    obj: Team

    def load(self, team_id: str = "", **kwargs: Any) -> None:
        self.obj = services.find(team_id)
        self.title = self.obj.team_id
        self.balance = billing.balance(self.obj)

    def url_kwargs(self) -> dict[str, Any]:
        return {"team_id": self.obj.team_id}

    def crumbs(self) -> Sequence[Crumb]:
        return (Crumb("Teams", reverse("admin:teams_team_changelist")),)

    def state(self) -> str:
        return self.obj.status

    def sentence(self) -> str:
        if self.obj.status == Team.Status.ACTIVE:
            return f"Active. {formats.credits_in_words(self.balance.spendable_micros)} available."
        reason = f": “{self.obj.status_reason}”" if self.obj.status_reason else ""
        return (
            f"{self.obj.status.capitalize()}{reason}. New jobs and calls are refused; running calls finish;"
            " completing and reading work."
        )

    def facts(self) -> Sequence[tuple[str, Any]]:
        return (
            ("Available", formats.credits(self.balance.spendable_micros)),
            ("Held", formats.credits(self.balance.held_micros)),
            ("Posted", formats.credits(self.balance.posted_micros)),
            ("Used", formats.credits(self.balance.used_micros)),
        )

    def about(self) -> Sequence[tuple[str, Any]]:
        return (
            ("Organization", tags.text(self.obj.organization.organization_id)),
            ("Name", tags.text(self.obj.alias)),
            ("Created", tags.when(self.obj.created_at)),
        )

    def buttons(self) -> Sequence[Button]:
        if self.obj.status == Team.Status.ACTIVE:
            return (
                Button("Suspend", reverse("admin:team_suspend", kwargs=self.url_kwargs()), Right.STATE_WRITE),
                Button("Pause", reverse("admin:team_pause", kwargs=self.url_kwargs()), Right.STATE_WRITE),
            )
        return (Button("Resume", reverse("admin:team_resume", kwargs=self.url_kwargs()), Right.STATE_WRITE, True),)

    def tab_overview(self) -> dict[str, Any]:
        return {"balance": self.balance}
