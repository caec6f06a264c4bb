"""Virtual keys: their list over all teams, and one key."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from apps.console import activity, formats, key_states, limit_tables, links
from apps.console.lists import columns
from apps.console.lists.base import Empty, ListPage, prefix_or_word
from apps.console.lists.columns import Column
from apps.console.lists.filters import TEAM, Choice
from apps.console.pages.base import Button, Crumb, ObjectPage, Tab
from apps.console.tables import SHOWN_MAX, Table
from apps.console.templatetags import console as tags
from apps.jobs.models import Job
from apps.limits import services as limits
from apps.limits.models import Scope
from apps.organizations.rights import Right
from apps.virtual_keys import services
from apps.virtual_keys.models import VirtualKey

_LAST_JOBS = 10
# What is kept of a key to recognise it by.
PREFIX_LENGTH = 11


def _name(key: VirtualKey) -> Any:
    name = formats.harmless(key.name)[:80] or "unnamed"
    return format_html('<a href="{}"><bdi>{}</bdi></a>', links.key(key.pk), name)


def _words(values: list[str], otherwise: str) -> str:
    return ", ".join(values) or otherwise


def key_columns(*, with_team: bool) -> tuple[Column, ...]:
    """The columns of keys, in their list and on a team's page. The list alone can be sorted."""

    def by(field: str) -> str:
        return field if with_team else ""

    team = (
        columns.link("Team", lambda key: key.team.team_id, lambda key: links.team(key.team.team_id), place="second"),
    )
    return (
        Column("Name", _name, lambda key: key.name, "first"),
        columns.plain("Key", lambda key: f"{key.prefix}…", place="second"),
        *(team if with_team else ()),
        columns.state("State", key_states.of),
        columns.plain("Scopes", lambda key: _words(key.scopes, "all")),
        columns.text("Models", lambda key: _words(key.models_allowed, "its team's")),
        columns.when("Last used", lambda key: key.last_used_at, place="rest", order=by("last_used_at")),
        columns.when("Expires", lambda key: key.expires_at, place="rest", order=by("expires_at")),
        columns.when("Created", lambda key: key.created_at, place="rest", order=by("created_at")),
        columns.text("By", lambda key: key.created_by),
    )


class KeyList(ListPage):
    title = "Keys"
    noun = "keys"
    line = "A key lets a team's programs call. Its secret is shown once, when it is issued."
    search_help = "key prefix, name or team id"
    ordering = ("-created_at", "-pk")
    export_name = "keys"
    empty = Empty("A key is issued on its team's page, or with a new customer.")
    columns = key_columns(with_team=True)
    filters = (
        Choice("state", "State", choices=key_states.CHOICES, conditions=key_states.where),
        TEAM,
        Choice(
            "unused",
            "Unused",
            choices=[("90d", "for 90 days")],
            conditions=lambda _: key_states.unused(),
        ),
        Choice(
            "scope",
            "Scope",
            choices=[(scope, scope) for scope in services.SCOPES],
            # A key without scopes has them all.
            conditions=lambda scope: Q(scopes_text__contains=f'"{scope}"') | Q(scopes=[]),
        ),
    )

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        term = request.GET.get("q", "").strip()
        if term.startswith("sk-") and len(term) > PREFIX_LENGTH:
            # People paste whole keys. What is shown of one is enough, and a page holds no more of it.
            query = request.GET.copy()
            query["q"] = term[:PREFIX_LENGTH]
            return HttpResponseRedirect(f"?{query.urlencode()}")
        return super().get(request, **kwargs)

    def get_rows(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = VirtualKey.objects.select_related("team")
        rows = rows.alias(scopes_text=Cast("scopes", TextField()))
        return rows

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        if term.startswith("sk-"):
            return rows.filter(prefix__startswith=term)
        return rows.filter(prefix_or_word(term, starts=("team__team_id",), contains=("name",)))


class KeyPage(ObjectPage):
    route = "key"
    tabs = (
        Tab("", "Overview", "console/pages/tables.html"),
        Tab("limits", "Limits", "console/pages/tables.html"),
        Tab("activity", "Activity", "console/pages/tables.html"),
    )
    obj: VirtualKey

    def load(self, key_id: str = "", **kwargs: Any) -> None:
        self.obj = services.find_any(key_id)
        self.title = self.obj.name or f"{self.obj.prefix}…"
        self.recent = calls_since(self.obj, timedelta(hours=24))

    def url_kwargs(self) -> dict[str, Any]:
        return {"key_id": str(self.obj.pk)}

    def crumbs(self) -> Sequence[Crumb]:
        team_id = self.obj.team.team_id
        return (
            Crumb("Teams", reverse("admin:teams_team_changelist")),
            Crumb(team_id, links.team(team_id)),
            Crumb("Keys", links.team(team_id, "keys")),
        )

    def state(self) -> str:
        return key_states.of(self.obj)

    def sentence(self) -> str:
        key, state = self.obj, self.state()
        if state == "revoked":
            return f"Revoked {_at(key.revoked_at)}. Whoever presents it is refused."
        if state == "expired":
            return f"Expired {_at(key.expires_at)}. Whoever presents it is refused."
        used = f"last used {_at(key.last_used_at)}" if key.last_used_at else "not used yet"
        until = f" until {_at(key.expires_at)}" if key.expires_at else ""
        if state == "rotating":
            return f"Rotating: it works{until} beside its successor; {used}."
        return f"Works{until}; {used}."

    def facts(self) -> Sequence[tuple[str, Any]]:
        return (
            ("Calls in 24 h", formats.count(self.recent.calls)),
            ("Jobs in 24 h", formats.count(self.recent.jobs)),
            ("Credits in 24 h", formats.credits(self.recent.micros)),
        )

    def about(self) -> Sequence[tuple[str, Any]]:
        key = self.obj
        return (
            ("Key", f"{key.prefix}…"),
            ("Id", tags.ident(key.pk)),
            ("Team", format_html('<a href="{}">{}</a>', links.team(key.team.team_id), key.team.team_id)),
            ("Created", tags.when(key.created_at)),
            ("By", tags.text(key.created_by)),
            ("Expires", tags.when(key.expires_at, "never")),
            ("Last used", tags.when(key.last_used_at, "never")),
        )

    def buttons(self) -> Sequence[Button]:
        if self.state() in ("revoked", "expired"):
            return ()
        kwargs = self.url_kwargs()
        revoke = Button("Revoke", reverse("admin:key_revoke", kwargs=kwargs), Right.KEYS_WRITE, is_dangerous=True)
        if self.obj.replaced_by_id is not None:
            return (revoke,)
        return (Button("Rotate", reverse("admin:key_rotate", kwargs=kwargs), Right.KEYS_WRITE), revoke)

    def tab_overview(self) -> dict[str, Any]:
        key = self.obj
        may = (
            ("Scopes", _words(key.scopes, "all")),
            ("Models", _words(key.models_allowed, "whatever its team may use")),
            ("Addresses", _words(key.addresses_allowed, "any")),
        )
        told = Table(
            "What it may do",
            (
                columns.plain("What", lambda row: row[0], place="first"),
                columns.text("Allowed", lambda row: row[1], place="second"),
            ),
            may,
            "",
        )
        last = Job.objects.filter(team=key.team_id, key_id=str(key.pk)).order_by("-created_at", "-id")[:_LAST_JOBS]
        return {"tables": [told, *self._rotation(), job_table("Its last jobs", list(last), "It opened no job yet.")]}

    def _rotation(self) -> list[Table]:
        found = list(VirtualKey.objects.filter(Q(replaced_by=self.obj) | Q(replaces=self.obj)).order_by("created_at"))
        if not found:
            return []
        return [Table("Rotated from and to", key_columns(with_team=False), found, "")]

    def tab_limits(self) -> dict[str, Any]:
        own = list(limits.matching(scope=Scope.KEY, subject_id=str(self.obj.pk))[:SHOWN_MAX])
        return {
            "tables": [
                limit_tables.effective(self.obj.team, key_id=str(self.obj.pk)),
                limit_tables.own("Its own limits", own, "None of its own."),
            ]
        }

    def tab_activity(self) -> dict[str, Any]:
        return {"tables": [activity.timeline("key", str(self.obj.pk))]}


class Recent:
    """Jobs that a key opened of late, their calls, and what they were charged."""

    def __init__(self, sums: dict[str, Any]) -> None:
        self.jobs: int = sums["jobs"] or 0
        self.calls: int = sums["calls"] or 0
        self.micros: int = sums["micros"] or 0


def calls_since(key: VirtualKey, span: timedelta) -> Recent:
    """One query over the team's jobs of that time."""
    jobs = Job.objects.filter(team=key.team_id, created_at__gte=timezone.now() - span, key_id=str(key.pk))
    return Recent(jobs.aggregate(jobs=Count("pk"), calls=Sum("total_calls"), micros=Sum("charged_micros")))


def _at(instant: Any) -> str:
    return f"{formats.ago(instant)} ({formats.clock(instant)})"


def job_table(title: str, jobs: Sequence[Job], empty: str, more_label: str = "", more_url: str = "") -> Table:
    """A few jobs, wherever they are shown."""
    return Table(
        title,
        (
            columns.ident("Job", lambda job: job.pk, lambda job: links.job(job.pk)),
            columns.text("Type", lambda job: job.job_type, place="second"),
            columns.state("State", lambda job: job.status),
            columns.credits("Charged", lambda job: job.charged_micros, place="amount"),
            columns.count("Calls", lambda job: job.total_calls),
            columns.when("Started", lambda job: job.created_at),
        ),
        jobs,
        empty,
        more_label,
        more_url,
    )
