"""Model groups: make, change, list and delete them.

A member is named as a customer of ours would name it: an alias of that name, else a provider model. A provider
model whose name becomes an alias's is that alias from then on.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from apps.catalog.errors import ModelGroupExists, ModelGroupNotFound, StillInUse
from apps.catalog.models import (
    ModelAlias,
    ModelGroup,
    ModelGroupMember,
    TeamDefaultModel,
    TeamModelGroup,
)
from apps.catalog.names import require_name
from apps.catalog.routes import default_route, provider_in, require_provider, require_route
from apps.core import audit
from apps.core.actors import Actor
from apps.core.errors import InvalidField
from apps.teams.models import Team


@dataclass(frozen=True, slots=True)
class Member:
    """A model of a group as it is asked for. The smallest priority is tried first.

    `route` and `provider` are for a provider model; an alias has its own. None keeps them, or takes the usual route
    and the provider that the name begins with.
    """

    name: str
    priority: int = 0
    is_active: bool = True
    route: str | None = None
    provider: str | None = None


def create(
    name: str, *, actor: Actor, display_name: str = "", description: str = "", members: Sequence[Member] = ()
) -> ModelGroup:
    """Make a model group. Raises: ModelGroupExists, InvalidField."""
    require_name("group_name", name)
    try:
        with transaction.atomic():
            aliases = _aliases(members)
            group = ModelGroup.objects.create(name=name, display_name=display_name or name, description=description)
            _put(group, members, aliases)
            audit.record("model_group.create", actor=actor, kind="model_group", id=name, after=_snapshot(group))
    except IntegrityError:
        raise ModelGroupExists(f"Model group '{name}' already exists") from None
    return find(name)


def update(
    name: str,
    *,
    actor: Actor,
    display_name: str | None = None,
    description: str | None = None,
    status: str | None = None,
    members: Sequence[Member] | None = None,
    put: Sequence[Member] = (),
    remove: Sequence[str] = (),
    reason: str = "",
) -> ModelGroup:
    """Change a group; what is None stays. `members` replaces its models, `put` and `remove` change single ones.

    A model that stays keeps its id.

    Raises: ModelGroupNotFound, InvalidField for a model named twice.
    """
    find(name)
    with transaction.atomic():
        # Aliases are locked before groups, as in `aliases`.
        aliases = _aliases([*(members or ()), *put])
        group = _locked(name)
        before = _snapshot(group)
        given = {"display_name": display_name, "description": description, "status": status}
        for column, value in given.items():
            if value is not None:
                setattr(group, column, value)
        group.save()
        if members is not None:
            _remove(group, {*_by_name(group)} - {member.name for member in members})
        _remove(group, remove)
        _put(group, [*(members or ()), *put], aliases)
        after = _snapshot(group)
        changed = [field for field in after if after[field] != before[field]]
        if changed:
            audit.record(
                "model_group.update",
                actor=actor,
                kind="model_group",
                id=name,
                before={field: before[field] for field in changed},
                after={field: after[field] for field in changed},
                reason=reason,
            )
    return find(name)


def delete(name: str, *, actor: Actor) -> None:
    """Delete a group that no team uses. Raises: ModelGroupNotFound, StillInUse."""
    with transaction.atomic():
        group = _locked(name)
        using = {*TeamModelGroup.objects.filter(model_group=group).values_list("team_id", flat=True)}
        using |= {*TeamDefaultModel.objects.filter(model_group=group).values_list("team_id", flat=True)}
        teams = Team.objects.filter(pk__in=using).exclude(status=Team.Status.CLOSED).count()
        if teams:
            raise StillInUse(f"Cannot delete model group '{name}'. It is assigned to {teams} team(s).")
        before = _snapshot(group)
        # What is left of closed teams goes with it.
        TeamModelGroup.objects.filter(model_group=group).delete()
        TeamDefaultModel.objects.filter(model_group=group).delete()
        group.delete()
        audit.record("model_group.delete", actor=actor, kind="model_group", id=name, before=before)


def find(name: str) -> ModelGroup:
    """A group with its members. Raises: ModelGroupNotFound."""
    group = ModelGroup.objects.prefetch_related("members__alias").filter(name=name).first()
    if group is None:
        raise ModelGroupNotFound(f"Model group '{name}' not found")
    return group


def matching(*, status: str | None = None, text: str | None = None) -> QuerySet[ModelGroup]:
    """Groups by name with their members, narrowed; `text` is part of the name. Three queries."""
    groups = ModelGroup.objects.prefetch_related("members__alias").order_by("name")
    if status is not None:
        groups = groups.filter(status=status)
    return groups if text is None else groups.filter(name__icontains=text)


def members_of(group: ModelGroup) -> list[ModelGroupMember]:
    """A group's members in the order in which they are tried."""
    return sorted(group.members.all(), key=lambda member: (member.priority, member.pk))


def adopt(alias: ModelAlias) -> None:
    """Members that were named like a new alias before there was one are that alias now."""
    ModelGroupMember.objects.filter(alias__isnull=True, provider_model=alias.name).update(
        alias=alias, provider_model="", provider=""
    )


def _aliases(members: Sequence[Member]) -> dict[str, ModelAlias]:
    """The aliases that members name, locked, by name. Raises: InvalidField for a name given twice."""
    names = [member.name for member in members]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidField("models", f"Model '{name}' is named twice.", value=name)
    aliases = ModelAlias.objects.filter(name__in=names).select_for_update(no_key=True).order_by("id")
    return {alias.name: alias for alias in aliases}


def _by_name(group: ModelGroup) -> dict[str, ModelGroupMember]:
    return {member.model_name: member for member in group.members.select_related("alias")}


def _remove(group: ModelGroup, names: Collection[str]) -> None:
    there = _by_name(group)
    group.members.filter(pk__in=[there[name].pk for name in names if name in there]).delete()


def _put(group: ModelGroup, members: Sequence[Member], aliases: dict[str, ModelAlias]) -> None:
    """Add these members, or change those of their names. Raises: InvalidField for what could never answer."""
    there = _by_name(group)
    for member in members:
        alias = aliases.get(member.name)
        row = there.get(member.name) or ModelGroupMember(
            group=group, alias=alias, provider_model="" if alias else member.name, route=default_route()
        )
        row.priority, row.is_active = member.priority, member.is_active
        if row.alias is None:
            _set_route(row, member)
        row.save()


def _set_route(row: ModelGroupMember, member: Member) -> None:
    if member.route is not None and (row._state.adding or member.route != row.route):
        require_route(member.route)
    row.route = member.route or row.route
    provider = row.provider if member.provider is None else member.provider
    row.provider = provider or provider_in(member.name)
    try:
        require_provider(row.route, row.provider)
    except InvalidField as error:
        raise InvalidField("models", f"Model '{member.name}': provider: {error.message}", value=member.name) from None


def _locked(name: str) -> ModelGroup:
    group = ModelGroup.objects.select_for_update().filter(name=name).first()
    if group is None:
        raise ModelGroupNotFound(f"Model group '{name}' not found")
    return group


def _snapshot(group: ModelGroup) -> dict[str, Any]:
    members = group.members.select_related("alias").order_by("priority", "id")
    return {
        "display_name": group.display_name,
        "description": group.description,
        "status": group.status,
        "models": [
            {"model_name": member.model_name, "priority": member.priority, "is_active": member.is_active}
            | ({} if member.alias is not None else {"route": member.route, "provider": member.provider})
            for member in members
        ],
    }
