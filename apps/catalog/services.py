"""What a team may ask for, and what its calls resolve to."""

from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery

from apps.catalog.errors import AliasNotFound, ModelNotAllowed, NoModelAvailable
from apps.catalog.models import ModelAlias, TeamAlias, TeamDefaultModel
from apps.core import audit
from apps.core.actors import Actor
from apps.core.prepared import Select, param
from apps.core.short_cache import ShortCache
from apps.teams.models import Team

# A change of models or prices reaches every process's admissions within this time.
CACHE_S = 0.5


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """What a call asks for and what will answer. `asked` is all that a customer ever sees."""

    asked: str
    alias: str
    route: str
    provider: str
    provider_model: str
    input_nanousd_per_mtok: int | None
    output_nanousd_per_mtok: int | None
    max_output_tokens: int | None

    @property
    def has_prices(self) -> bool:
        return self.input_nanousd_per_mtok is not None and self.output_nanousd_per_mtok is not None


def _active(team: Any) -> QuerySet[ModelAlias]:
    """Active aliases, with `given_id` set on those that the team was given."""
    given = TeamAlias.objects.filter(team=team, alias=OuterRef("pk"))
    return ModelAlias.objects.filter(status=ModelAlias.Status.ACTIVE).annotate(
        given_id=Subquery(given.values("id")[:1])
    )


def _defaults(team: Any) -> QuerySet[ModelAlias]:
    """What a call that names no model may use: the team's choice, the platform's, then by age of access."""
    chosen = Exists(TeamDefaultModel.objects.filter(team=team, alias=OuterRef("pk")))
    return (
        _active(team)
        .annotate(is_chosen=chosen)
        .filter(Q(given_id__isnull=False) | Q(is_open=True))
        .order_by("-is_chosen", "-is_default", F("given_id").asc(nulls_last=True), "name")
    )


_NAMED: Select[ModelAlias] = Select(lambda: _active(param("team", TeamAlias)).filter(name=param("name", ModelAlias)))
# An alias that is merely open to all is nobody's default.
_DEFAULT: Select[ModelAlias] = Select(
    lambda: _defaults(param("team", TeamAlias)).filter(
        Q(is_chosen=True) | Q(is_default=True) | Q(given_id__isnull=False)
    )[:1]
)


def resolve(team: Team, asked: str | None, *, only: tuple[str, ...] = ()) -> ResolvedModel:
    """The model behind the name a team asked for, or its default when it named none. One query.

    Without a name: the team's default, else the platform's if open to the team, else the first alias the team
    was given. `only` is a key's own list of aliases.
    Raises: ModelNotAllowed (unknown names too), NoModelAvailable.
    """
    if asked:
        alias = _NAMED.first(team=team.pk, name=asked)
        if alias is None or not (alias.is_open or getattr(alias, "given_id", None)) or (only and asked not in only):
            kind = "alias" if alias is not None else "group"
            raise ModelNotAllowed(f"Team '{team.team_id}' does not have access to model {kind} '{asked}'")
    else:
        alias = _defaults(team.pk).filter(name__in=only).first() if only else _DEFAULT.first(team=team.pk)
        if alias is None:
            raise NoModelAvailable(f"No model available for team '{team.team_id}'")
    return ResolvedModel(
        asked=alias.name,
        alias=alias.name,
        route=alias.route,
        provider=alias.provider,
        provider_model=alias.provider_model,
        input_nanousd_per_mtok=alias.input_nanousd_per_mtok,
        output_nanousd_per_mtok=alias.output_nanousd_per_mtok,
        max_output_tokens=alias.max_output_tokens,
    )


_cache: ShortCache[ResolvedModel] = ShortCache(seconds=CACHE_S)


def resolve_cached(team: Team, asked: str | None, *, only: tuple[str, ...] = ()) -> ResolvedModel:
    """`resolve`, as it was at most CACHE_S ago in this process."""
    return _cache.get((team.pk, asked, only), lambda: resolve(team, asked, only=only))


def forget_cached() -> None:
    """Empty this process's cache: after a change made here (by a signal of the models), and between tests."""
    _cache.clear()


@dataclass(frozen=True, slots=True)
class TeamModels:
    """Names a team was given, as listed, and its default."""

    access_groups: list[str]
    model_groups: list[str]
    default_model: str | None

    @property
    def allowed(self) -> list[str]:
        return sorted({*self.access_groups, *self.model_groups})


def models_of(teams: list[Team]) -> dict[int, TeamModels]:
    """What each team was given, by its primary key: two queries, whatever the number of teams."""
    listed: dict[int, dict[str, list[str]]] = {team.pk: {"access_group": [], "model_group": []} for team in teams}
    for row in TeamAlias.objects.filter(team__in=teams).select_related("alias").order_by("id"):
        listed[row.team_id][row.listed_as].append(row.alias.name)
    defaults = dict(TeamDefaultModel.objects.filter(team__in=teams).values_list("team_id", "alias__name"))
    return {
        team.pk: TeamModels(
            access_groups=listed[team.pk]["access_group"],
            model_groups=listed[team.pk]["model_group"],
            default_model=defaults.get(team.pk),
        )
        for team in teams
    }


def set_team_models(
    team: Team, *, actor: Actor, access_groups: list[str] | None = None, model_groups: list[str] | None = None
) -> TeamModels:
    """Replace what a team may ask for, per list; a list that is None stays.

    Raises: AliasNotFound for a name that does not exist; nothing is changed then.
    """
    with transaction.atomic():
        before = models_of([team])[team.pk]
        for names, listed_as in (
            (access_groups, TeamAlias.ListedAs.ACCESS_GROUP),
            (model_groups, TeamAlias.ListedAs.MODEL_GROUP),
        ):
            if names is None:
                continue
            found = {alias.name: alias for alias in ModelAlias.objects.filter(name__in=names)}
            for name in names:
                if name not in found:
                    word = "access group" if listed_as == TeamAlias.ListedAs.ACCESS_GROUP else "group"
                    raise AliasNotFound(f"Model {word} '{name}' not found")
            TeamAlias.objects.filter(team=team, listed_as=listed_as).exclude(alias__name__in=names).delete()
            for name in dict.fromkeys(names):
                TeamAlias.objects.get_or_create(team=team, alias=found[name], defaults={"listed_as": listed_as})
        after = models_of([team])[team.pk]
        if before != after:
            audit.record(
                "team.models",
                actor=actor,
                kind="team",
                id=team.team_id,
                before={"models": before.allowed},
                after={"models": after.allowed},
            )
    return after


def set_team_default(team: Team, name: str | None, *, actor: Actor) -> None:
    """Which alias the team's calls use when they name none; None for the platform's.

    Raises: AliasNotFound.
    """
    with transaction.atomic():
        before = TeamDefaultModel.objects.filter(team=team).values_list("alias__name", flat=True).first()
        if name is None:
            TeamDefaultModel.objects.filter(team=team).delete()
        else:
            alias = ModelAlias.objects.filter(name=name).first()
            if alias is None:
                raise AliasNotFound(f"Model alias '{name}' not found")
            TeamDefaultModel.objects.update_or_create(team=team, defaults={"alias": alias})
        if name != before:
            audit.record(
                "team.default_model",
                actor=actor,
                kind="team",
                id=team.team_id,
                before={"default_model": before},
                after={"default_model": name},
            )


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
        alias, _ = ModelAlias.objects.update_or_create(name=name, defaults=wanted)
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
