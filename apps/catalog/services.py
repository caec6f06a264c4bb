"""What teams may ask for and their defaults; with `resolve`, what the rest of the platform asks of the catalog."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models.functions import Coalesce

from apps.catalog.aliases import set_platform_default as set_platform_default
from apps.catalog.errors import AliasNotFound
from apps.catalog.models import (
    AccessGroup,
    AccessGroupMember,
    GroupStatus,
    ModelAlias,
    ModelGroup,
    TeamAccessGroup,
    TeamAlias,
    TeamDefaultModel,
    TeamModelGroup,
)
from apps.catalog.resolution import ResolvedModel as ResolvedModel
from apps.catalog.resolution import Usable as Usable
from apps.catalog.resolution import forget_cached as forget_cached
from apps.catalog.resolution import resolve as resolve
from apps.catalog.resolution import resolve_cached as resolve_cached
from apps.catalog.resolution import resolve_group as resolve_group
from apps.catalog.resolution import usable as usable
from apps.core import audit
from apps.core.actors import Actor
from apps.teams.models import Team


@dataclass(frozen=True, slots=True)
class TeamModels:
    """Names a team was given, as listed, and its default. `allowed` is what its calls may name, sorted."""

    access_groups: list[str]
    model_groups: list[str]
    default_model: str | None
    allowed: list[str] = field(default_factory=list, compare=False)

    @property
    def given(self) -> list[str]:
        return sorted({*self.access_groups, *self.model_groups})


def models_of(teams: list[Team]) -> dict[int, TeamModels]:
    """What each team was given, by its primary key: at most five queries, whatever the number of teams.

    Groups come before aliases that were given without one. What is out of service is listed but not allowed.
    """
    access: dict[int, list[str]] = {team.pk: [] for team in teams}
    groups: dict[int, list[str]] = {team.pk: [] for team in teams}
    allowed: dict[int, set[str]] = {team.pk: set() for team in teams}
    given_access = list(TeamAccessGroup.objects.filter(team__in=teams).select_related("access_group").order_by("id"))
    bundles = _aliases_of({row.access_group for row in given_access})
    for row in given_access:
        access[row.team_id].append(row.access_group.name)
        allowed[row.team_id].update(bundles.get(row.access_group_id, ()))
    for group in TeamModelGroup.objects.filter(team__in=teams).select_related("model_group").order_by("id"):
        groups[group.team_id].append(group.model_group.name)
        if group.model_group.status == GroupStatus.ACTIVE:
            allowed[group.team_id].add(group.model_group.name)
    for given in TeamAlias.objects.filter(team__in=teams).select_related("alias").order_by("id"):
        listed = access if given.listed_as == TeamAlias.ListedAs.ACCESS_GROUP else groups
        listed[given.team_id].append(given.alias.name)
        if given.alias.status == ModelAlias.Status.ACTIVE:
            allowed[given.team_id].add(given.alias.name)
    defaults = _defaults_of(teams)
    return {
        team.pk: TeamModels(access[team.pk], groups[team.pk], defaults.get(team.pk), sorted(allowed[team.pk]))
        for team in teams
    }


def _defaults_of(teams: list[Team]) -> dict[int, str]:
    """The name of each team's default, by its primary key, for those that have one. One query."""
    rows = TeamDefaultModel.objects.filter(team__in=teams)
    return dict(rows.values_list("team_id", Coalesce("alias__name", "model_group__name")))


def _aliases_of(groups: Iterable[AccessGroup]) -> dict[int, set[str]]:
    """The active aliases of active access groups, by the group's primary key."""
    found: dict[int, set[str]] = {group.pk: set() for group in groups if group.status == GroupStatus.ACTIVE}
    if not found:
        return found
    rows = AccessGroupMember.objects.filter(access_group__in=found, alias__status=ModelAlias.Status.ACTIVE)
    for pk, name in rows.values_list("access_group_id", "alias__name"):
        found[pk].add(name)
    return found


def set_team_models(
    team: Team, *, actor: Actor, access_groups: list[str] | None = None, model_groups: list[str] | None = None
) -> TeamModels:
    """Replace what a team may ask for, per list; a list that is None stays.

    A name in `access_groups` is an access group, else a model group (and then one of `model_groups`), else an
    alias; one in `model_groups` is a model group, else an alias.
    Raises: AliasNotFound for a name that does not exist; nothing is changed then.
    """
    with _audited(team, actor):
        known = _Known.of([*(access_groups or []), *(model_groups or [])])
        taken: list[ModelGroup] = []
        if access_groups is not None:
            taken = _set_access_groups(team, access_groups, known)
        if model_groups is not None:
            _set_model_groups(team, model_groups, known, keep=taken)
        for group in taken:
            TeamModelGroup.objects.get_or_create(team=team, model_group=group)
    return models_of([team])[team.pk]


def give(
    team: Team,
    what: ModelAlias | AccessGroup | ModelGroup,
    *,
    actor: Actor,
    listed_as: str = TeamAlias.ListedAs.ACCESS_GROUP,
) -> TeamAlias | TeamAccessGroup | TeamModelGroup:
    """Let a team use one more thing. `listed_as` is under which list an alias is shown. Repeatable.

    Raises: AliasNotFound when it was deleted meanwhile.
    """
    with _audited(team, actor):
        _keep(what)
        if isinstance(what, AccessGroup):
            return TeamAccessGroup.objects.get_or_create(team=team, access_group=what)[0]
        if isinstance(what, ModelGroup):
            return TeamModelGroup.objects.get_or_create(team=team, model_group=what)[0]
        return TeamAlias.objects.get_or_create(team=team, alias=what, defaults={"listed_as": listed_as})[0]


def take(team: Team, what: ModelAlias | AccessGroup | ModelGroup, *, actor: Actor) -> None:
    """Let a team no longer use one thing. Repeatable."""
    with _audited(team, actor):
        if isinstance(what, AccessGroup):
            TeamAccessGroup.objects.filter(team=team, access_group=what).delete()
        elif isinstance(what, ModelGroup):
            TeamModelGroup.objects.filter(team=team, model_group=what).delete()
        else:
            TeamAlias.objects.filter(team=team, alias=what).delete()


def _keep(what: ModelAlias | AccessGroup | ModelGroup) -> None:
    """Lock what is about to be pointed to, so that it is not deleted meanwhile. Raises: AliasNotFound."""
    rows: Any = type(what)._default_manager
    if rows.select_for_update(no_key=True).filter(pk=what.pk).first() is None:
        raise AliasNotFound(f"'{what.name}' not found")


@contextmanager
def _audited(team: Team, actor: Actor) -> Iterator[None]:
    """A transaction that changes what a team was given; it leaves an audit row if it did.

    The team's lock keeps two changes from losing one. It leaves the row's key alone: admissions share that.
    """
    with transaction.atomic():
        Team.objects.select_for_update(no_key=True).get(pk=team.pk)
        before = models_of([team])[team.pk]
        yield
        after = models_of([team])[team.pk]
        if before != after or before.allowed != after.allowed:
            audit.record(
                "team.models",
                actor=actor,
                kind="team",
                id=team.team_id,
                before={"models": before.given},
                after={"models": after.given},
            )


@dataclass(frozen=True, slots=True)
class _Known:
    """What there is of these names, locked so that none of it is deleted meanwhile."""

    aliases: dict[str, ModelAlias]
    access_groups: dict[str, AccessGroup]
    model_groups: dict[str, ModelGroup]

    @classmethod
    def of(cls, names: list[str]) -> "_Known":
        def locked(model: Any) -> dict[str, Any]:
            rows = model.objects.filter(name__in=names).select_for_update(no_key=True).order_by("id")
            return {row.name: row for row in rows}

        return cls(locked(ModelAlias), locked(AccessGroup), locked(ModelGroup))


def _set_access_groups(team: Team, names: list[str], known: _Known) -> list[ModelGroup]:
    """Make these the access groups of a team. Returns the model groups among them."""
    groups: list[AccessGroup] = []
    taken: list[ModelGroup] = []
    aliases: list[ModelAlias] = []
    for name in dict.fromkeys(names):
        if name in known.access_groups:
            groups.append(known.access_groups[name])
        elif name in known.model_groups:
            taken.append(known.model_groups[name])
        elif name in known.aliases:
            aliases.append(known.aliases[name])
        else:
            raise AliasNotFound(f"Model access group '{name}' not found")
    TeamAccessGroup.objects.filter(team=team).exclude(access_group__in=groups).delete()
    for group in groups:
        TeamAccessGroup.objects.get_or_create(team=team, access_group=group)
    _set_aliases(team, aliases, listed_as=TeamAlias.ListedAs.ACCESS_GROUP)
    return taken


def _set_model_groups(team: Team, names: list[str], known: _Known, *, keep: list[ModelGroup]) -> None:
    """Make these, and those to keep, the model groups of a team."""
    groups: list[ModelGroup] = []
    aliases: list[ModelAlias] = []
    for name in dict.fromkeys(names):
        if name in known.model_groups:
            groups.append(known.model_groups[name])
        elif name in known.aliases:
            aliases.append(known.aliases[name])
        else:
            raise AliasNotFound(f"Model group '{name}' not found")
    TeamModelGroup.objects.filter(team=team).exclude(model_group__in=[*groups, *keep]).delete()
    for group in groups:
        TeamModelGroup.objects.get_or_create(team=team, model_group=group)
    _set_aliases(team, aliases, listed_as=TeamAlias.ListedAs.MODEL_GROUP)


def _set_aliases(team: Team, aliases: list[ModelAlias], *, listed_as: TeamAlias.ListedAs) -> None:
    """Make these the aliases that a team was given under one of the lists."""
    TeamAlias.objects.filter(team=team, listed_as=listed_as).exclude(alias__in=aliases).delete()
    for alias in aliases:
        TeamAlias.objects.get_or_create(team=team, alias=alias, defaults={"listed_as": listed_as})


def may_use(team: Team, what: ModelAlias | ModelGroup) -> bool:
    """Whether a team was given this, or it is open to all. Its being in service is not asked."""
    if isinstance(what, ModelGroup):
        return TeamModelGroup.objects.filter(team=team, model_group=what).exists()
    return (
        what.is_open
        or TeamAlias.objects.filter(team=team, alias=what).exists()
        or TeamAccessGroup.objects.filter(team=team, access_group__members__alias=what).exists()
    )


def set_team_default(team: Team, name: str | None, *, actor: Actor) -> None:
    """The alias, else model group, of this name is what the team's calls use when they name none; None for the
    platform's.

    Raises: AliasNotFound.
    """
    with transaction.atomic():
        known = _Known.of([name] if name is not None else [])
        what = None if name is None else known.aliases.get(name) or known.model_groups.get(name)
        if name is not None and what is None:
            raise AliasNotFound(f"Model alias '{name}' not found")
        choose_default(team, what, actor=actor)


def choose_default(team: Team, what: ModelAlias | ModelGroup | None, *, actor: Actor) -> None:
    """The same for what is known. A default that the team may not use is passed over.

    Raises: AliasNotFound when it was deleted meanwhile.
    """
    with transaction.atomic():
        before = _defaults_of([team]).get(team.pk)
        if what is None:
            TeamDefaultModel.objects.filter(team=team).delete()
        else:
            _keep(what)
            is_group = isinstance(what, ModelGroup)
            chosen = {"alias": None if is_group else what, "model_group": what if is_group else None}
            TeamDefaultModel.objects.update_or_create(team=team, defaults=chosen)
        after = None if what is None else what.name
        if after != before:
            audit.record(
                "team.default_model",
                actor=actor,
                kind="team",
                id=team.team_id,
                before={"default_model": before},
                after={"default_model": after},
            )
