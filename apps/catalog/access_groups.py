"""Access groups: make, change, list and delete them. Their aliases are what a team with the group may ask for."""

from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from apps.catalog.errors import AccessGroupExists, AccessGroupNotFound, AliasNotFound, StillInUse
from apps.catalog.models import AccessGroup, AccessGroupMember, ModelAlias, TeamAccessGroup
from apps.catalog.names import listed, require_name
from apps.core import audit
from apps.core.actors import Actor
from apps.teams.models import Team


def create(
    name: str, *, actor: Actor, display_name: str = "", description: str = "", aliases: Sequence[str] = ()
) -> AccessGroup:
    """Make an access group. Raises: AccessGroupExists, AliasNotFound, InvalidField."""
    require_name("group_name", name)
    try:
        with transaction.atomic():
            known = _aliases(aliases)
            group = AccessGroup.objects.create(name=name, display_name=display_name or name, description=description)
            _add(group, known)
            audit.record("access_group.create", actor=actor, kind="access_group", id=name, after=_snapshot(group))
    except IntegrityError:
        raise AccessGroupExists(f"Model access group '{name}' already exists") from None
    return find(name)


def update(
    name: str,
    *,
    actor: Actor,
    display_name: str | None = None,
    description: str | None = None,
    status: str | None = None,
    aliases: Sequence[str] | None = None,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    reason: str = "",
) -> AccessGroup:
    """Change a group; what is None stays. `aliases` replaces its aliases, `add` and `remove` change single ones.

    Raises: AccessGroupNotFound, AliasNotFound.
    """
    find(name)
    with transaction.atomic():
        # Aliases are locked before groups, as in `aliases`.
        known = _aliases([*(aliases or []), *add, *remove])
        group = _locked(name)
        before = _snapshot(group)
        given = {"display_name": display_name, "description": description, "status": status}
        for column, value in given.items():
            if value is not None:
                setattr(group, column, value)
        group.save()
        if aliases is not None:
            group.members.exclude(alias__name__in=aliases).delete()
        _add(group, [alias for alias in known if alias.name in {*(aliases or []), *add}])
        group.members.filter(alias__in=[alias for alias in known if alias.name in remove]).delete()
        after = _snapshot(group)
        changed = [field for field in after if after[field] != before[field]]
        if changed:
            audit.record(
                "access_group.update",
                actor=actor,
                kind="access_group",
                id=name,
                before={field: before[field] for field in changed},
                after={field: after[field] for field in changed},
                reason=reason,
            )
    return find(name)


def delete(name: str, *, actor: Actor) -> None:
    """Delete a group that no team has. Raises: AccessGroupNotFound, StillInUse."""
    with transaction.atomic():
        group = _locked(name)
        teams = teams_using([group])[group.pk]
        if teams:
            raise StillInUse(f"Cannot delete access group '{name}' - still in use by teams: {listed(teams)}")
        before = _snapshot(group)
        # What is left of closed teams goes with it.
        TeamAccessGroup.objects.filter(access_group=group).delete()
        group.delete()
        audit.record("access_group.delete", actor=actor, kind="access_group", id=name, before=before)


def find(name: str) -> AccessGroup:
    """A group with its aliases. Raises: AccessGroupNotFound."""
    group = AccessGroup.objects.prefetch_related("members__alias").filter(name=name).first()
    if group is None:
        raise AccessGroupNotFound(f"Model access group '{name}' not found")
    return group


def matching(*, status: str | None = None, text: str | None = None) -> QuerySet[AccessGroup]:
    """Groups by name with their aliases, narrowed; `text` is part of the name. Three queries."""
    groups = AccessGroup.objects.prefetch_related("members__alias").order_by("name")
    if status is not None:
        groups = groups.filter(status=status)
    return groups if text is None else groups.filter(name__icontains=text)


def teams_using(groups: Sequence[AccessGroup]) -> dict[int, list[str]]:
    """The teams that have each group, closed ones left out. One query."""
    found: dict[int, list[str]] = {group.pk: [] for group in groups}
    rows = TeamAccessGroup.objects.filter(access_group__in=groups).exclude(team__status=Team.Status.CLOSED)
    for pk, team_id in rows.order_by("team__team_id").values_list("access_group_id", "team__team_id"):
        found[pk].append(team_id)
    return found


def _aliases(names: Sequence[str]) -> list[ModelAlias]:
    """The aliases of these names, in this order. Raises: AliasNotFound."""
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return []
    aliases = ModelAlias.objects.filter(name__in=wanted).select_for_update(no_key=True).order_by("id")
    found = {alias.name: alias for alias in aliases}
    for name in wanted:
        if name not in found:
            raise AliasNotFound(f"Model alias '{name}' not found")
    return [found[name] for name in wanted]


def _add(group: AccessGroup, aliases: Sequence[ModelAlias]) -> None:
    for alias in aliases:
        AccessGroupMember.objects.get_or_create(access_group=group, alias=alias)


def _locked(name: str) -> AccessGroup:
    group = AccessGroup.objects.select_for_update().filter(name=name).first()
    if group is None:
        raise AccessGroupNotFound(f"Model access group '{name}' not found")
    return group


def _snapshot(group: AccessGroup) -> dict[str, Any]:
    return {
        "display_name": group.display_name,
        "description": group.description,
        "status": group.status,
        "model_aliases": list(group.members.order_by("alias__name").values_list("alias__name", flat=True)),
    }
