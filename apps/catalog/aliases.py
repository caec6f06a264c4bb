"""Aliases: make, change, list and delete them, and the platform's default.

Callers name columns; what the wire calls them is the edge's business.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from apps.catalog.errors import AccessGroupNotFound, AliasExists, AliasNotFound, StillInUse
from apps.catalog.model_groups import adopt
from apps.catalog.models import (
    AccessGroup,
    AccessGroupMember,
    ModelAlias,
    TeamAccessGroup,
    TeamAlias,
    TeamDefaultModel,
)
from apps.catalog.names import listed, require_name
from apps.catalog.routes import default_route, require_provider, require_route
from apps.core import audit
from apps.core.actors import Actor
from apps.core.errors import InvalidField, InvalidRequest
from apps.teams.models import Team

LIMITS = ("context_window_tokens", "max_output_tokens", "default_output_tokens", "max_choices", "timeout_s")
ABILITIES = (
    "supports_vision",
    "supports_audio",
    "supports_tools",
    "supports_json_schema",
    "supports_streaming",
    "supports_embeddings",
)
# What an audit row shows of an alias, and all that may be given for one besides its name.
COLUMNS = (
    "display_name",
    "description",
    "status",
    "route",
    "provider",
    "provider_model",
    "is_open",
    "input_nanousd_per_mtok",
    "output_nanousd_per_mtok",
    *LIMITS,
    *ABILITIES,
)


def create(
    name: str,
    columns: Mapping[str, Any],
    *,
    actor: Actor,
    access_groups: Sequence[str] = (),
    is_default: bool = False,
) -> ModelAlias:
    """Make an alias, in access groups and as the platform's default if asked: all of it or nothing.

    Raises: AliasExists, AccessGroupNotFound, InvalidField, InvalidRequest.
    """
    require_name("model_alias", name)
    alias = ModelAlias(name=name, **{"route": default_route(), **_known(columns)})
    _require_answerable(alias, columns)
    _require_consistent(alias, is_default=is_default)
    try:
        with transaction.atomic():
            alias.save(force_insert=True)
            after = {"name": name, **_snapshot(alias), "access_groups": sorted({*access_groups})}
            audit.record("alias.create", actor=actor, kind="alias", id=name, after=after)
            if is_default:
                _make_default(alias, actor)
            _put_in(alias, access_groups)
            adopt(alias)
    except IntegrityError:
        if not ModelAlias.objects.filter(name=name).exists():
            raise
        raise AliasExists(f"Model alias '{name}' already exists") from None
    return find(name)


def update(
    name: str,
    columns: Mapping[str, Any],
    *,
    actor: Actor,
    access_groups: Sequence[str] | None = None,
    is_default: bool | None = None,
    reason: str = "",
) -> ModelAlias:
    """Change an alias; what is not given stays. `access_groups` replaces the groups that it is in.

    Raises: AliasNotFound, AccessGroupNotFound, InvalidField, InvalidRequest.
    """
    with transaction.atomic():
        alias = _locked(name)
        before = {**_snapshot(alias), "access_groups": groups_of(alias), "is_default": alias.is_default}
        for column, value in _known(columns).items():
            setattr(alias, column, value)
        _require_answerable(alias, {name: columns[name] for name in columns if columns[name] != before[name]})
        if is_default is False:
            alias.is_default = False
        makes_default = bool(is_default) and not alias.is_default
        _require_consistent(alias, is_default=alias.is_default or makes_default)
        alias.save()
        groups = before["access_groups"] if access_groups is None else sorted({*access_groups})
        after = {**_snapshot(alias), "access_groups": groups, "is_default": alias.is_default}
        changed = [field for field in after if after[field] != before[field]]
        if changed:
            audit.record(
                "alias.update",
                actor=actor,
                kind="alias",
                id=name,
                before={field: before[field] for field in changed},
                after={field: after[field] for field in changed},
                reason=reason,
            )
        if makes_default:
            _make_default(alias, actor)
        if access_groups is not None:
            _put_in(alias, access_groups)
    return find(name)


def delete(name: str, *, actor: Actor) -> None:
    """Delete an alias that nobody uses; access groups lose it. Calls keep its name.

    Raises: AliasNotFound, StillInUse while teams may use it, a group names it or calls default to it.
    """
    with transaction.atomic():
        alias = _locked(name)
        refusal = f"Cannot delete model alias '{name}'"
        if alias.is_default:
            raise StillInUse(f"{refusal} - it is the platform's default. Make another model the default first.")
        defaulting = TeamDefaultModel.objects.filter(alias=alias).exclude(team__status=Team.Status.CLOSED)
        teams = sorted({*teams_using([alias])[alias.pk], *defaulting.values_list("team__team_id", flat=True)})
        if teams:
            raise StillInUse(f"{refusal} - still in use by teams: {listed(teams)}")
        groups = list(alias.model_group_members.order_by("group__name").values_list("group__name", flat=True))
        if groups:
            raise StillInUse(f"{refusal} - still in use by model groups: {listed(groups)}")
        before = {"name": name, **_snapshot(alias), "access_groups": groups_of(alias)}
        # What is left of closed teams goes with it.
        TeamAlias.objects.filter(alias=alias).delete()
        TeamDefaultModel.objects.filter(alias=alias).delete()
        alias.delete()
        audit.record("alias.delete", actor=actor, kind="alias", id=name, before=before)


def find(name: str) -> ModelAlias:
    """Raises: AliasNotFound."""
    alias = ModelAlias.objects.filter(name=name).first()
    if alias is None:
        raise AliasNotFound(f"Model alias '{name}' not found")
    return alias


def matching(
    *,
    status: str | None = None,
    provider: str | None = None,
    access_group: str | None = None,
    text: str | None = None,
) -> QuerySet[ModelAlias]:
    """Aliases by name, narrowed by what is given; `text` is part of the name."""
    aliases = ModelAlias.objects.order_by("name")
    if status is not None:
        aliases = aliases.filter(status=status)
    if provider is not None:
        aliases = aliases.filter(provider=provider)
    if access_group is not None:
        aliases = aliases.filter(access_group_members__access_group__name=access_group)
    return aliases if text is None else aliases.filter(name__icontains=text)


def groups_of(alias: ModelAlias) -> list[str]:
    """The access groups that an alias is in."""
    return groups_by_alias([alias])[alias.pk]


def groups_by_alias(aliases: Sequence[ModelAlias]) -> dict[int, list[str]]:
    """The access groups that each alias is in, by its primary key. One query."""
    found: dict[int, list[str]] = {alias.pk: [] for alias in aliases}
    rows = AccessGroupMember.objects.filter(alias__in=aliases).order_by("access_group__name")
    for pk, group in rows.values_list("alias_id", "access_group__name"):
        found[pk].append(group)
    return found


def teams_using(aliases: Sequence[ModelAlias]) -> dict[int, list[str]]:
    """The teams that were given each alias, directly or by an access group; closed ones left out. Two queries."""
    found: dict[int, set[str]] = defaultdict(set)
    given = TeamAlias.objects.filter(alias__in=aliases).exclude(team__status=Team.Status.CLOSED)
    for pk, team_id in given.values_list("alias_id", "team__team_id"):
        found[pk].add(team_id)
    bundled = TeamAccessGroup.objects.filter(access_group__members__alias__in=aliases).exclude(
        team__status=Team.Status.CLOSED
    )
    for pk, team_id in bundled.values_list("access_group__members__alias_id", "team__team_id"):
        found[pk].add(team_id)
    return {alias.pk: sorted(found[alias.pk]) for alias in aliases}


def set_platform_default(
    *, name: str, provider_model: str, route: ModelAlias.Route, actor: Actor, provider: str = ""
) -> ModelAlias:
    """Make `name` the alias behind calls that name no model, open to every team. Repeatable."""
    wanted = {
        "provider_model": provider_model,
        "route": route,
        "provider": provider,
        "is_open": True,
        "is_default": True,
        "status": ModelAlias.Status.ACTIVE,
    }
    with transaction.atomic():
        old_default = ModelAlias.objects.filter(is_default=True).values_list("name", flat=True).first()
        old = ModelAlias.objects.filter(name=name).values(*wanted).first()
        ModelAlias.objects.exclude(name=name).filter(is_default=True).update(is_default=False)
        alias, is_new = ModelAlias.objects.update_or_create(name=name, defaults=wanted)
        if is_new:
            adopt(alias)
        if old != wanted:
            audit.record(
                "alias.default",
                actor=actor,
                kind="alias",
                id=name,
                before={"default": old_default, **(old or {})},
                after={"default": name, **wanted},
            )
    return alias


def _make_default(alias: ModelAlias, actor: Actor) -> None:
    set_platform_default(
        name=alias.name,
        provider_model=alias.provider_model,
        route=ModelAlias.Route(alias.route),
        provider=alias.provider,
        actor=actor,
    )


def _known(columns: Mapping[str, Any]) -> dict[str, Any]:
    unknown = set(columns) - set(COLUMNS)
    if unknown:
        raise TypeError(f"no columns of an alias: {', '.join(sorted(unknown))}")
    return dict(columns)


def _require_answerable(alias: ModelAlias, changed: Mapping[str, Any]) -> None:
    """Only what is changed is judged: an installation may lose what an alias needs. Raises: InvalidField."""
    if "route" in changed:
        require_route(alias.route)
    if "route" in changed or "provider" in changed:
        require_provider(alias.route, alias.provider)


def _require_consistent(alias: ModelAlias, *, is_default: bool) -> None:
    if (alias.input_nanousd_per_mtok is None) != (alias.output_nanousd_per_mtok is None):
        raise InvalidRequest(
            "Give both prices (pricing_input, pricing_output) or none: a half-priced model would be sold too cheaply."
        )
    for limit in LIMITS:
        value = getattr(alias, limit)
        if value is not None and value < 1:
            raise InvalidField(limit, "Must be at least 1.", value=value)
    most = alias.max_output_tokens
    if most is not None and (alias.default_output_tokens or 0) > most:
        raise InvalidField(
            "default_output_tokens", f"Must be at most max_output_tokens, {most}.", value=alias.default_output_tokens
        )
    if is_default and alias.status != ModelAlias.Status.ACTIVE:
        raise InvalidField(
            "status",
            "The platform's default must be active.",
            value=alias.status,
        )
    if alias.is_default and not alias.is_open:
        raise InvalidField("is_open", "The platform's default is open to every team.", value=False)


def _put_in(alias: ModelAlias, names: Sequence[str]) -> None:
    """Make these the access groups that an alias is in. Raises: AccessGroupNotFound.

    Aliases are locked before groups, here and in the groups' own modules.
    """
    wanted = list(dict.fromkeys(names))
    groups = AccessGroup.objects.filter(name__in=wanted).select_for_update(no_key=True).order_by("id")
    found = {group.name: group for group in groups}
    for name in wanted:
        if name not in found:
            raise AccessGroupNotFound(f"Model access group '{name}' not found")
    AccessGroupMember.objects.filter(alias=alias).exclude(access_group__name__in=wanted).delete()
    for name in wanted:
        AccessGroupMember.objects.get_or_create(alias=alias, access_group=found[name])


def _locked(name: str) -> ModelAlias:
    alias = ModelAlias.objects.select_for_update().filter(name=name).first()
    if alias is None:
        raise AliasNotFound(f"Model alias '{name}' not found")
    return alias


def _snapshot(alias: ModelAlias) -> dict[str, Any]:
    return {column: getattr(alias, column) for column in COLUMNS}
