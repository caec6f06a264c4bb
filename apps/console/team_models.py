"""A team's models: the names it may use, what each resolves to, and why a name does or does not."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils.html import format_html

from apps.catalog import explanation
from apps.catalog import services as catalog
from apps.catalog.errors import NoModelAvailable
from apps.catalog.models import AccessGroup, ModelAlias, ModelGroup, ModelGroupMember
from apps.console import formats
from apps.console.lists import columns
from apps.console.lists.columns import Column
from apps.console.tables import Table
from apps.teams.models import Team


@dataclass(frozen=True, slots=True)
class Name:
    """A name that the team may ask for: what answers, in order, and whether a call without a name gets it."""

    name: str
    kind: str
    answers: str
    is_default: bool


def names(team: Team) -> list[Name]:
    """At most six queries, whatever their number."""
    usable = [each.name for each in catalog.usable(team)]
    aliases = {
        alias.name: alias for alias in ModelAlias.objects.filter(name__in=usable, status=ModelAlias.Status.ACTIVE)
    }
    in_groups = _members([name for name in usable if name not in aliases])
    default = _default(team)
    return [
        Name(name, "alias", _backend(aliases[name]), name == default)
        if name in aliases
        else Name(name, "model group", " → ".join(in_groups.get(name, [])), name == default)
        for name in usable
    ]


def _backend(alias: ModelAlias) -> str:
    return f"{alias.provider_model} ({alias.route})"


def _members(groups: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    members = ModelGroupMember.objects.filter(group__name__in=groups, is_active=True).select_related("alias", "group")
    for member in members.order_by("group", "priority", "id"):
        if member.alias is None or member.alias.status == ModelAlias.Status.ACTIVE:
            shown = member.alias.name if member.alias else member.provider_model
            found.setdefault(member.group.name, []).append(shown)
    return found


def _default(team: Team) -> str:
    try:
        return catalog.resolve(team, None).asked
    except NoModelAvailable:
        return ""


def _starred(row: Name) -> Any:
    star = ' <span title="default">★<span class="c-hidden"> default</span></span>' if row.is_default else ""
    return format_html("<bdi>{}</bdi>" + star, formats.harmless(row.name))


def context(team: Team, asked: str | None) -> dict[str, Any]:
    """What the tab shows; `asked` is the name to be tried, None before the form is sent."""
    models = catalog.models_of([team])[team.pk]
    table = Table(
        "Names it may use",
        (
            Column("Name", _starred, lambda row: row.name, "first"),
            columns.plain("Kind", lambda row: row.kind, place="second"),
            columns.text("Resolves to", lambda row: row.answers, place="second"),
        ),
        names(team),
        "None: every call is refused. Give the team an access group, or open an alias to all.",
        note="★ is what a call without a name gets.",
    )
    return {
        "tables": [table],
        "given": models,
        "asked": asked or "",
        "explained": None if asked is None else _explained(team, asked),
    }


def _explained(team: Team, asked: str) -> explanation.Explanation:
    if "\x00" in asked:
        return explanation.Explanation(["A name cannot hold the NUL character."], None, "No model has this name.")
    return explanation.explain(team, asked)


def offer(form: forms.Form) -> None:
    """Let a form's `access_groups` and `model_groups` be chosen from what there is; without any: no field."""
    for name, choices in (("access_groups", bundles()), ("model_groups", groups())):
        if choices:
            form.fields[name].choices = choices  # type: ignore[attr-defined]
        else:
            del form.fields[name]


# What a form offers to give a team.
def bundles() -> list[tuple[str, str]]:
    """Names of access groups, and of aliases that may be given without one."""
    groups = [(name, f"{name} (access group)") for name in AccessGroup.objects.values_list("name", flat=True)]
    taken = {name for name, _ in groups} | set(ModelGroup.objects.values_list("name", flat=True))
    # A name that is also a group's would be taken for the group.
    aliases = ModelAlias.objects.order_by("name").values_list("name", flat=True)
    return groups + [(name, name) for name in aliases if name not in taken]


def groups() -> list[tuple[str, str]]:
    return [(name, name) for name in ModelGroup.objects.order_by("name").values_list("name", flat=True)]
