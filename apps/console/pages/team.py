"""One team: what it has and spends, its wallet, keys, models, limits and rate cards."""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from django.urls import reverse
from django.utils.html import format_html

from apps.console import activity, formats, key_states, limit_tables, links, spending, team_models, wallet
from apps.console.pages.base import Button, Crumb, ObjectPage, Tab
from apps.console.pages.keys import job_table, key_columns
from apps.console.rate_tables import which_card_wins
from apps.console.refusals import refusal_table
from apps.console.tables import SHOWN_MAX, Table
from apps.console.templatetags import console as tags
from apps.credits import billing
from apps.jobs.models import Job
from apps.limits import services as limits
from apps.limits.models import Decision
from apps.organizations.rights import Right
from apps.teams import services
from apps.teams.models import Team
from apps.virtual_keys.models import VirtualKey

_TABLES = "console/pages/tables.html"
_LAST = 5
_LISTED = 25


class TeamPage(ObjectPage):
    route = "team"
    tabs = (
        Tab("", "Overview", _TABLES),
        Tab("wallet", "Wallet", _TABLES),
        Tab("keys", "Keys", _TABLES),
        Tab("models", "Models", "console/pages/team/models.html"),
        Tab("limits", "Limits", _TABLES),
        Tab("rate-cards", "Rate cards", _TABLES),
        Tab("jobs", "Jobs", _TABLES),
        Tab("refusals", "Refusals", _TABLES),
        Tab("activity", "Activity", _TABLES),
    )
    obj: Team

    def load(self, team_id: str = "", **kwargs: Any) -> None:
        self.obj = services.find(team_id)
        self.title = self.obj.team_id
        self.balance = billing.balance(self.obj)
        self.spent_micros = spending.in_pace([self.obj]).get(self.obj.pk, 0)

    def url_kwargs(self) -> dict[str, Any]:
        return {"team_id": self.obj.team_id}

    def crumbs(self) -> Sequence[Crumb]:
        organization_id = self.obj.organization.organization_id
        return (
            Crumb("Organizations", reverse("admin:organizations_organization_changelist")),
            Crumb(organization_id, links.organization(organization_id)),
            Crumb("Teams", links.organization(organization_id, "teams")),
        )

    def state(self) -> str:
        return self.obj.status

    def sentence(self) -> str:
        organization = self.obj.organization
        if self.obj.status != Team.Status.ACTIVE:
            return _stopped(self.obj.status, self.obj.status_reason)
        if organization.status != organization.Status.ACTIVE:
            whose = f"{organization.status.capitalize()} with its organization"
            return _stopped(whose, organization.status_reason)
        return f"Active. {formats.credits_in_words(self.balance.spendable_micros)} available{self._lasting()}."

    def _lasting(self) -> str:
        days = spending.days_left(self.balance.spendable_micros, self.spent_micros)
        if days is None:
            return "; nothing was spent in 7 days"
        if days == 0:
            return ", less than a day at this pace"
        return f", about {formats.count(days)} {'day' if days == 1 else 'days'} at this pace"

    def facts(self) -> Sequence[tuple[str, Any]]:
        return (
            ("Available", formats.credits(self.balance.spendable_micros)),
            ("Held", formats.credits(self.balance.held_micros)),
            ("Posted", formats.credits(self.balance.posted_micros)),
            ("Used", formats.credits(self.balance.used_micros)),
            ("Spent 7 d", formats.credits(self.spent_micros)),
        )

    def about(self) -> Sequence[tuple[str, Any]]:
        organization_id = self.obj.organization.organization_id
        return (
            (
                "Organization",
                format_html('<a href="{}">{}</a>', links.organization(organization_id), organization_id),
            ),
            ("Name", tags.text(self.obj.alias or formats.UNKNOWN)),
            ("Created", tags.when(self.obj.created_at)),
            ("Metadata", tags.pretty_json(self.obj.metadata) if self.obj.metadata else "none"),
            ("API", format_html("<code>GET /api/teams/{}</code>", self.obj.team_id)),
        )

    def buttons(self) -> Sequence[Button]:
        kwargs = self.url_kwargs()
        grant = reverse("admin:team_grant", kwargs=kwargs)
        given = Button("Grant", grant, Right.CREDITS_WRITE, is_main=True)
        edit = Button("Edit", reverse("admin:team_edit", kwargs=kwargs), Right.CUSTOMERS_WRITE)
        if self.obj.status == Team.Status.CLOSED:
            return ()
        if self.obj.status == Team.Status.ACTIVE:
            return (
                given,
                Button("Suspend", reverse("admin:team_suspend", kwargs=kwargs), Right.STATE_WRITE),
                Button("Pause", reverse("admin:team_pause", kwargs=kwargs), Right.STATE_WRITE),
                edit,
            )
        resume = Button("Resume", reverse("admin:team_resume", kwargs=kwargs), Right.STATE_WRITE, is_main=True)
        return (resume, given, edit)

    def of_tab(self, *wanted: tuple[str, str, Right]) -> list[Button]:
        """Buttons inside a tab, for those who hold their right."""
        found = links.buttons(*wanted, **self.url_kwargs())
        return [button for button in found if self.operator.holds(button.right, within=True)]

    def tab_overview(self) -> dict[str, Any]:
        zone = ZoneInfo(self.obj.organization.time_zone)
        spent = spending.by_day(self.obj, label="job_type", zone=zone)
        title = "Credits charged a day, by job type"
        drawn = spending.chart(spent, title=title, zone=zone, links_to={"team": self.obj.team_id})
        expiring = VirtualKey.objects.filter(key_states.where("expiring"), team=self.obj).order_by("expires_at")
        return {
            "said": wallet.equation(self.balance),
            "drawn": drawn,
            "tables": [
                self._jobs(_LAST, "Last jobs"),
                self._refusals(_LAST, "Last refusals"),
                Table(
                    "Keys that expire within 7 days",
                    key_columns(with_team=False),
                    list(expiring[:_LAST]),
                    "None.",
                    "All keys",
                    self.tab_url("keys"),
                ),
            ],
        }

    def tab_wallet(self) -> dict[str, Any]:
        buttons = self.of_tab(
            ("Grant", "team_grant", Right.CREDITS_WRITE),
            ("Allocate from pool", "team_allocate", Right.CREDITS_WRITE),
            ("Reclaim to pool", "team_reclaim", Right.CREDITS_WRITE),
            ("Adjust down", "team_adjust", Right.CREDITS_WRITE),
            ("Credit line", "team_credit_line", Right.CREDITS_WRITE),
        )
        return {
            "said": wallet.equation(self.balance),
            "page_buttons": buttons,
            "tables": wallet.tables(self.obj),
        }

    def tab_keys(self) -> dict[str, Any]:
        shown = self.request.GET.get("revoked") == "yes"
        found = VirtualKey.objects.filter(team=self.obj).order_by("-created_at", "-id")
        if not shown:
            found = found.filter(revoked_at__isnull=True)
        url = self.tab_url("keys")
        table = Table(
            "Keys",
            key_columns(with_team=False),
            list(found[:SHOWN_MAX]),
            "No active key: this team cannot call. Issue one.",
            "Hide revoked ones" if shown else "Show revoked ones too",
            url if shown else f"{url}?revoked=yes",
        )
        buttons = self.of_tab(("Issue key", "team_issue_key", Right.KEYS_WRITE))
        return {"page_buttons": buttons, "tables": [table]}

    def tab_models(self) -> dict[str, Any]:
        asked = self.request.GET.get("name")
        context = {"page_buttons": self.of_tab(("Change models", "team_edit", Right.CUSTOMERS_WRITE))}
        return context | team_models.context(self.obj, None if asked is None else asked.strip()[:300])

    def tab_limits(self) -> dict[str, Any]:
        own = list(limits.of_team(self.obj)[:SHOWN_MAX])
        return {
            "tables": [
                limit_tables.effective(self.obj),
                limit_tables.own("Set for this team, its keys and users", own, "None of its own."),
            ]
        }

    def tab_rate_cards(self) -> dict[str, Any]:
        buttons = self.of_tab(("Change prices", "team_prices", Right.CARDS_WRITE))
        return {"page_buttons": buttons, "tables": [which_card_wins(self.obj)]}

    def tab_jobs(self) -> dict[str, Any]:
        return {"tables": [self._jobs(_LISTED, "Jobs")]}

    def tab_refusals(self) -> dict[str, Any]:
        return {"tables": [self._refusals(_LISTED, "Refusals")]}

    def tab_activity(self) -> dict[str, Any]:
        team_id = self.obj.team_id
        return {"tables": [activity.timeline("team", team_id, team_id=team_id)]}

    def _jobs(self, most: int, title: str) -> Table:
        found = list(Job.objects.filter(team=self.obj).order_by("-created_at", "-id")[:most])
        url = links.listed("jobs_job", team=self.obj.team_id, range="all")
        return job_table(title, found, "No job yet: one appears when the team calls.", "All jobs of this team", url)

    def _refusals(self, most: int, title: str) -> Table:
        found = list(Decision.objects.filter(team=self.obj).order_by("-created_at", "-id")[:most])
        url = links.listed("limits_decision", team=self.obj.team_id, range="all")
        return refusal_table(title, found, "Nothing was refused.", "All refusals of this team", url)


def _stopped(status: str, reason: str) -> str:
    why = f": “{reason}”" if reason else ""
    return (
        f"{status[0].upper()}{status[1:]}{why}. New jobs and calls are refused; running calls finish;"
        " completing and reading work."
    )
