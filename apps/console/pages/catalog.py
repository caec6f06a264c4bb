"""What teams may call: aliases, model groups with the order of their models, access groups."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from apps.analytics import figures
from apps.analytics.figures import Filters, Sums
from apps.analytics.ranges import Preset, of_preset
from apps.catalog import access_groups, aliases, model_groups, prices
from apps.catalog.model_groups import Member
from apps.catalog.models import AccessGroup, GroupStatus, ModelAlias, ModelGroup, ModelGroupMember
from apps.console import formats
from apps.console.lists import columns
from apps.console.lists.base import Empty, ListPage, prefix_or_word
from apps.console.lists.columns import Column
from apps.console.lists.filters import Choice
from apps.console.pages.base import Button, Crumb, ObjectPage, Tab
from apps.console.templatetags import console as tags
from apps.core.admin_base import actor_of
from apps.organizations import rights
from apps.organizations.rights import Right
from apps.teams.models import Team

_ABILITIES = {
    "supports_streaming": "stream",
    "supports_tools": "tools",
    "supports_json_schema": "JSON",
    "supports_vision": "images",
    "supports_audio": "audio",
    "supports_embeddings": "embeddings",
}


def turn(route: str, right: Right = Right.CATALOG_WRITE) -> Column:
    """A link that turns the row off or on, for those who may."""

    def show(row: Any) -> str:
        if not row.may_turn:
            return formats.UNKNOWN
        is_on = getattr(row, "is_active", None) if hasattr(row, "is_active") else row.status == "active"
        key = "credential_id" if route == "credential" else "name"
        value = row.pk if route == "credential" else row.name
        url = reverse(f"admin:{route}_{'off' if is_on else 'on'}", kwargs={key: value})
        return format_html('<a href="{}">Turn {}</a>', url, "off" if is_on else "on")

    return Column("Change", show, lambda row: "", "second")


def mark(page: ListPage, rows: Sequence[Any], right: Right = Right.CATALOG_WRITE) -> None:
    """Note on each row whether the operator may turn it off."""
    may = page.operator.holds(right)
    for row in rows:
        row.may_turn = may


def _edit_url(route: str) -> Any:
    return lambda row: reverse(f"admin:catalog_{route}_change", args=[row.pk])


def _named(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _price(alias: Any) -> str:
    if alias.input_nanousd_per_mtok is not None:
        return f"{formats.usd(alias.input_nanousd_per_mtok)} / {formats.usd(alias.output_nanousd_per_mtok)}, own"
    if alias.price is None:
        return "none"
    price = alias.price
    return f"{formats.usd(price.input_nanousd_per_mtok)} / {formats.usd(price.output_nanousd_per_mtok)}"


class AliasList(ListPage):
    title = "Aliases"
    noun = "aliases"
    line = "What teams ask for, and the provider model that answers. Prices are USD per million tokens, in / out."
    search_help = "name, shown name or provider model"
    ordering = ("name",)
    export_name = "aliases"
    empty = Empty("No aliases: no team can call a model. Add one.", "Add alias", "/admin/catalog/modelalias/add/")
    columns = (
        columns.link("Alias", lambda alias: alias.name, _edit_url("modelalias"), order="name"),
        columns.text("Shown name", lambda alias: alias.display_name),
        columns.text("Resolves to", lambda alias: f"{alias.provider_model} ({alias.route})", place="second"),
        columns.text("In groups", lambda alias: _named(alias.in_groups)),
        columns.plain("Price", _price),
        columns.plain(
            "Can", lambda alias: ", ".join(word for name, word in _ABILITIES.items() if getattr(alias, name))
        ),
        columns.plain("Teams", lambda alias: "every team" if alias.is_open else str(alias.teams)),
        columns.count("Calls, 24 h", lambda alias: alias.sums.calls, place="amount"),
        columns.plain("Errors", lambda alias: formats.percent(alias.sums.errors, alias.sums.calls)),
        columns.state("State", lambda alias: alias.status),
        turn("alias"),
    )
    filters = (
        Choice("state", "State", choices=ModelAlias.Status.choices, lookup="status"),
        Choice("route", "Route", choices=ModelAlias.Route.choices),
    )

    def get_rows(self) -> QuerySet[Any]:
        return ModelAlias.objects.all()

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(prefix_or_word(term, starts=("name",), contains=("display_name", "provider_model")))

    def buttons(self) -> Sequence[Button]:
        add = reverse("admin:catalog_modelalias_add")
        return (Button("Add alias", add, Right.CATALOG_WRITE, is_main=True),)

    def decorate(self, rows: Sequence[Any]) -> None:
        mark(self, rows)
        access, teams = aliases.groups_by_alias(rows), aliases.teams_using(rows)
        groups: dict[int, list[str]] = defaultdict(list)
        members = ModelGroupMember.objects.filter(alias__in=rows).order_by("group__name")
        for pk, name in members.values_list("alias_id", "group__name"):
            groups[pk].append(name)
        wanted = {alias.provider_model.lower() for alias in rows}
        priced = {price.model: price for price in prices.all_in_force().filter(model__in=wanted)}
        sums = figures.groups("model", of_preset(Preset.DAY, "UTC"), Filters())
        for alias in rows:
            alias.in_groups = [*groups[alias.pk], *access[alias.pk]]
            alias.teams = len(teams[alias.pk])
            alias.price = priced.get(alias.provider_model.lower())
            alias.sums = sums.get(alias.name, Sums())


class _GroupList(ListPage):
    ordering = ("name",)
    search_help = "name or shown name"
    filters = (Choice("state", "State", choices=GroupStatus.choices, lookup="status"),)

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(prefix_or_word(term, starts=("name",), contains=("display_name",)))

    def decorate(self, rows: Sequence[Any]) -> None:
        mark(self, rows)


class ModelGroupList(_GroupList):
    title = "Model groups"
    noun = "model groups"
    line = "A name that teams ask for, and the models that answer, tried in order."
    export_name = "model-groups"
    empty = Empty("No model groups. One lets a second model answer when the first fails.")
    columns = (
        columns.link(
            "Group",
            lambda group: group.name,
            lambda group: reverse("admin:model_group", kwargs={"name": group.name}),
            order="name",
        ),
        columns.text("Shown name", lambda group: group.display_name),
        columns.text(
            "Models, in order",
            lambda group: " → ".join(each.model_name for each in model_groups.members_of(group) if each.is_active),
            place="second",
        ),
        columns.count("Teams", lambda group: group.teams, place="amount", order="teams"),
        columns.state("State", lambda group: group.status),
        turn("model_group"),
    )

    def get_rows(self) -> QuerySet[Any]:
        still = Q(team_access__isnull=False) & ~Q(team_access__team__status=Team.Status.CLOSED)
        return ModelGroup.objects.prefetch_related("members__alias").annotate(
            teams=Count("team_access", filter=still, distinct=True)
        )

    def buttons(self) -> Sequence[Button]:
        add = reverse("admin:catalog_modelgroup_add")
        return (Button("Add model group", add, Right.CATALOG_WRITE, is_main=True),)


class AccessGroupList(_GroupList):
    title = "Access groups"
    noun = "access groups"
    line = "A bundle of aliases that is given to teams as one."
    export_name = "access-groups"
    empty = Empty("No access groups. One gives several aliases to teams at once.")
    columns = (
        columns.link("Group", lambda group: group.name, _edit_url("accessgroup"), order="name"),
        columns.text("Shown name", lambda group: group.display_name),
        columns.text(
            "Aliases",
            lambda group: _named(sorted(each.alias.name for each in group.members.all()), 8),
            place="second",
        ),
        columns.text("Teams", lambda group: _named(group.teams, 5)),
        columns.count("Teams in all", lambda group: len(group.teams), place="amount"),
        columns.state("State", lambda group: group.status),
        turn("access_group"),
    )

    def get_rows(self) -> QuerySet[Any]:
        return AccessGroup.objects.prefetch_related("members__alias")

    def buttons(self) -> Sequence[Button]:
        add = reverse("admin:catalog_accessgroup_add")
        return (Button("Add access group", add, Right.CATALOG_WRITE, is_main=True),)

    def decorate(self, rows: Sequence[Any]) -> None:
        super().decorate(rows)
        teams = access_groups.teams_using(rows)
        for group in rows:
            group.teams = teams[group.pk]


class ModelGroupPage(ObjectPage):
    """A group's models in the order in which they are tried. A POST moves one up or down."""

    route = "model_group"
    tabs = (Tab("", "Models", "console/pages/model_group.html"),)
    obj: ModelGroup

    def load(self, name: str = "", **kwargs: Any) -> None:
        self.obj = model_groups.find(name)
        self.title = self.obj.name
        self.members = model_groups.members_of(self.obj)

    def url_kwargs(self) -> dict[str, Any]:
        return {"name": self.obj.name}

    def crumbs(self) -> Sequence[Crumb]:
        return (Crumb("Model groups", reverse("admin:catalog_modelgroup_changelist")),)

    def state(self) -> str:
        return self.obj.status

    def sentence(self) -> str:
        if self.obj.status != GroupStatus.ACTIVE:
            return "Inactive: calls that ask for it are refused."
        tried = [member.model_name for member in self.members if member.is_active]
        if not tried:
            return "No model of it is in use: calls that ask for it are refused."
        if len(tried) == 1:
            return f"{tried[0]} answers. If it fails, the call fails: there is no other model."
        return f"{tried[0]} answers. If it fails, {', then '.join(tried[1:])} is tried; if all fail, the call fails."

    def about(self) -> Sequence[tuple[str, Any]]:
        return (
            ("Shown name", tags.text(self.obj.display_name)),
            ("Description", tags.text(self.obj.description)),
            ("Changed", tags.when(self.obj.updated_at)),
            ("API", tags.text(f"GET /api/model-groups/{self.obj.name}")),
        )

    def buttons(self) -> Sequence[Button]:
        is_on = self.obj.status == GroupStatus.ACTIVE
        turned = reverse(f"admin:model_group_{'off' if is_on else 'on'}", kwargs=self.url_kwargs())
        edit = reverse("admin:catalog_modelgroup_change", args=[self.obj.pk])
        add = f"{reverse('admin:catalog_modelgroupmember_add')}?group={self.obj.pk}"
        return (
            Button("Turn off" if is_on else "Turn on", turned, Right.CATALOG_WRITE),
            Button("Edit", edit, Right.CATALOG_WRITE),
            Button("Add model", add, Right.CATALOG_WRITE, is_main=True),
        )

    def tab_overview(self) -> dict[str, Any]:
        return {"members": self.members, "order": self.order(), "may_move": self.operator.holds(Right.CATALOG_WRITE)}

    def order(self) -> str:
        """What was seen of it."""
        return " ".join(str(member.pk) for member in self.members)

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        rights.require(self.operator.role, Right.CATALOG_WRITE, doing="move models of groups")
        self.load(**kwargs)
        at = next((i for i, each in enumerate(self.members) if str(each.pk) == request.POST.get("member")), None)
        to = -1 if at is None else at + (-1 if request.POST.get("move") == "up" else 1)
        if request.POST.get("order") != self.order():
            messages.error(request, "The order has changed meanwhile. Nothing was moved. Check again.")
        elif at is not None and 0 <= to < len(self.members):
            moved = list(self.members)
            moved.insert(to, moved.pop(at))
            placed = [
                Member(each.model_name, place, each.is_active, each.route, each.provider)
                for place, each in enumerate(moved)
            ]
            model_groups.update(self.obj.name, actor=actor_of(request), put=placed)
            messages.success(request, f"{moved[to].model_name} is tried as number {to + 1}.")
        return HttpResponseRedirect(self.tab_url(""))
