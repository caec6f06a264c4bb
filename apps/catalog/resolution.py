"""From the name a team asks for to the models that may answer, in the order in which they are tried.

An alias is one model. A model group is several: the first of its members in use, and the others as fallbacks.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from apps.catalog import prices
from apps.catalog.errors import ModelGroupUnavailable, ModelNotAllowed, NoModelAvailable
from apps.catalog.models import (
    GroupStatus,
    ModelAlias,
    ModelGroup,
    ModelGroupMember,
    TeamAccessGroup,
    TeamAlias,
    TeamDefaultModel,
    TeamModelGroup,
)
from apps.catalog.price_models import PriceSource
from apps.catalog.rates import Rates
from apps.catalog.routes import model_of
from apps.core.prepared import Select, param
from apps.core.short_cache import ShortCache
from apps.teams.models import Team

# A change of models or prices reaches every process's admissions within this time.
CACHE_S = 0.5


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """What a call asks for and what will answer. `asked` is all that a customer ever sees.

    `fallbacks` are tried in order when this one fails; they have none of their own. Limits and abilities are None
    where they are not known. `alias` is the provider model's name for a member of a group that is no alias.
    Its prices are the alias's own, else those in force (`price_id`), else the estimate for models without any.
    """

    asked: str
    alias: str
    route: str
    provider: str
    provider_model: str
    input_nanousd_per_mtok: int | None
    output_nanousd_per_mtok: int | None
    max_output_tokens: int | None
    default_output_tokens: int | None = None
    context_window_tokens: int | None = None
    max_choices: int | None = None
    timeout_s: int | None = None
    supports_vision: bool | None = None
    supports_audio: bool | None = None
    supports_tools: bool | None = None
    supports_json_schema: bool | None = None
    supports_streaming: bool | None = None
    supports_embeddings: bool | None = None
    price_source: str = PriceSource.NONE
    price_id: UUID | None = None
    price_rates: Rates | None = None
    fallbacks: tuple["ResolvedModel", ...] = ()

    @property
    def rates(self) -> Rates | None:
        """What its tokens cost, None when that is not known."""
        given = self.input_nanousd_per_mtok, self.output_nanousd_per_mtok
        if self.price_rates is not None or given[0] is None or given[1] is None:
            return self.price_rates
        return Rates(given[0], given[1])

    @property
    def has_prices(self) -> bool:
        return self.input_nanousd_per_mtok is not None and self.output_nanousd_per_mtok is not None

    @property
    def assumed_output_tokens(self) -> int | None:
        """The output cap of a call that names none; None leaves it to the platform's setting."""
        return self.default_output_tokens or self.max_output_tokens

    @property
    def candidates(self) -> tuple["ResolvedModel", ...]:
        """Everything that may answer, in the order in which it is tried."""
        return (self, *self.fallbacks)


def resolve(team: Team, asked: str | None, *, only: tuple[str, ...] = ()) -> ResolvedModel:
    """What stands behind the name a team asked for, or behind its default when it named none.

    One query for an alias, two for a model group. An alias comes before a model group of the same name. Without a
    name: the team's default, else the platform's if open to the team, else the first alias the team was given, else
    its first model group. `only` is a key's own list of names.
    Raises: ModelNotAllowed (unknown names too), ModelGroupUnavailable, NoModelAvailable.
    """
    if not asked:
        return _default(team, only)
    alias = _NAMED.first(team=team.pk, name=asked)
    if alias is None:
        return resolve_group(team, asked, only=only)
    if not _may_use(alias) or (only and asked not in only):
        raise ModelNotAllowed(f"Team '{team.team_id}' does not have access to model alias '{asked}'")
    return _of_alias(alias, asked, price_id=_annotated(alias, "price_id"))


def resolve_group(team: Team, asked: str, *, only: tuple[str, ...] = ()) -> ResolvedModel:
    """What stands behind a model group. One query.

    Raises: ModelNotAllowed (unknown groups too), ModelGroupUnavailable when none of it can answer.
    """
    members = [] if only and asked not in only else _MEMBERS.all(team=team.pk, name=asked)
    if not members:
        raise _refusal(team, asked, only)
    return _of_group(members, asked)


def _refusal(team: Team, asked: str, only: tuple[str, ...]) -> ModelNotAllowed | ModelGroupUnavailable:
    group = ModelGroup.objects.filter(name=asked, team_access__team=team).first()
    if group is None or (only and asked not in only):
        return ModelNotAllowed(f"Team '{team.team_id}' does not have access to model group '{asked}'")
    if group.status != GroupStatus.ACTIVE:
        return ModelGroupUnavailable(f"Model group '{asked}' not found or inactive")
    return ModelGroupUnavailable(f"No active models configured for group '{asked}'")


def _default(team: Team, only: tuple[str, ...]) -> ResolvedModel:
    alias = _default_aliases(team.pk).filter(name__in=only).first() if only else _DEFAULT.first(team=team.pk)
    if alias is None or _annotated(alias, "chosen_group_id") is not None:
        members = (
            list(_default_members(team.pk).filter(group__name__in=only))
            if only
            else _DEFAULT_MEMBERS.all(team=team.pk)
        )
        if members and (alias is None or _annotated(members[0], "is_chosen")):
            first = members[0]
            same = [member for member in members if member.group_id == first.group_id]
            return _of_group(same, _annotated(first, "group_name"))
    if alias is None:
        raise NoModelAvailable(f"No model available for team '{team.team_id}'")
    return _of_alias(alias, alias.name, price_id=_annotated(alias, "price_id"))


@dataclass(frozen=True, slots=True)
class Usable:
    """A name that a team may ask for, and since when there is one of it."""

    name: str
    created_at: datetime


def usable(team: Team, *, only: tuple[str, ...] = ()) -> list[Usable]:
    """Every name that `resolve` finds a model behind for this team, by name. Two queries."""
    aliases = (
        _active_aliases(team.pk)
        .filter(Q(given_id__isnull=False) | Q(bundled_id__isnull=False) | Q(is_open=True))
        .values_list("name", "created_at")
    )
    given = TeamModelGroup.objects.filter(team=team.pk, model_group=OuterRef("group_id"))
    # An alias hides a group of the same name, also where the team may not use the alias.
    hidden = ModelAlias.objects.filter(status=ModelAlias.Status.ACTIVE, name=OuterRef("group__name"))
    groups = _usable_members().filter(Exists(given), ~Exists(hidden)).values_list("group__name", "group__created_at")
    found = dict(aliases) | dict(groups)
    return [Usable(name, found[name]) for name in sorted(found) if not only or name in only]


# --- Queries -----------------------------------------------------------------------------------------------

# Columns of an alias that resolving has no use for.
_UNUSED = ("display_name", "description", "created_at", "updated_at")


def _active_aliases(team: Any) -> QuerySet[ModelAlias]:
    """Active aliases, with what gave each to the team: `given_id` directly, `bundled_id` by an access group."""
    given = TeamAlias.objects.filter(team=team, alias=OuterRef("pk"))
    bundled = TeamAccessGroup.objects.filter(
        team=team,
        access_group__status=GroupStatus.ACTIVE,
        access_group__members__alias=OuterRef("pk"),
    ).order_by("id")
    return (
        ModelAlias.objects.filter(status=ModelAlias.Status.ACTIVE)
        .annotate(
            given_id=Subquery(given.values("id")[:1]),
            bundled_id=Subquery(bundled.values("id")[:1]),
            price_id=Subquery(prices.newest_of(OuterRef("provider_model")).values("id")),
        )
        .defer(*_UNUSED)
    )


def _default_aliases(team: Any) -> QuerySet[ModelAlias]:
    """Aliases for a call that names none: the team's choice, the platform's, then by age of access.

    `chosen_group_id` is set on all of them when the team's choice is a model group.
    """
    choice = TeamDefaultModel.objects.filter(team=team)
    return (
        _active_aliases(team)
        .annotate(
            is_chosen=Exists(choice.filter(alias=OuterRef("pk"))),
            chosen_group_id=Subquery(choice.values("model_group_id")[:1]),
        )
        .filter(Q(given_id__isnull=False) | Q(bundled_id__isnull=False) | Q(is_open=True))
        .order_by(
            "-is_chosen",
            "-is_default",
            F("given_id").asc(nulls_last=True),
            F("bundled_id").asc(nulls_last=True),
            "name",
        )
    )


def _usable_members() -> QuerySet[ModelGroupMember]:
    """Members that can answer, of groups in use."""
    return (
        ModelGroupMember.objects.select_related("alias")
        .defer("created_at", *(f"alias__{name}" for name in _UNUSED))
        .annotate(
            price_id=Subquery(
                prices.newest_of(Coalesce(OuterRef("alias__provider_model"), OuterRef("provider_model"))).values("id")
            )
        )
        .filter(Q(alias__isnull=True) | Q(alias__status=ModelAlias.Status.ACTIVE), is_active=True)
        .filter(group__status=GroupStatus.ACTIVE)
    )


def _members(team: Any, name: Any) -> QuerySet[ModelGroupMember]:
    """The members of a group that the team was given."""
    given = TeamModelGroup.objects.filter(team=team, model_group=OuterRef("group_id"))
    return _usable_members().filter(Exists(given), group__name=name).order_by("priority", "id")


def _default_members(team: Any) -> QuerySet[ModelGroupMember]:
    """The members of all groups the team was given, group by group: the team's choice first, then by age."""
    given = TeamModelGroup.objects.filter(team=team, model_group=OuterRef("group_id"))
    chosen = TeamDefaultModel.objects.filter(team=team, model_group=OuterRef("group_id"))
    return (
        _usable_members()
        .annotate(group_name=F("group__name"), given_id=Subquery(given.values("id")[:1]), is_chosen=Exists(chosen))
        .filter(given_id__isnull=False)
        .order_by("-is_chosen", "given_id", "priority", "id")
    )


_NAMED: Select[ModelAlias] = Select(
    lambda: _active_aliases(param("team", TeamAlias)).filter(name=param("name", ModelAlias))
)
# An alias that is merely open to all is nobody's default.
_DEFAULT: Select[ModelAlias] = Select(
    lambda: _default_aliases(param("team", TeamAlias)).filter(
        Q(is_chosen=True) | Q(is_default=True) | Q(given_id__isnull=False) | Q(bundled_id__isnull=False)
    )[:1]
)
_MEMBERS: Select[ModelGroupMember] = Select(
    lambda: _members(param("team", TeamModelGroup), param("name", ModelGroup))
)
_DEFAULT_MEMBERS: Select[ModelGroupMember] = Select(lambda: _default_members(param("team", TeamModelGroup)))


# --- From rows to results ----------------------------------------------------------------------------------


def _annotated(row: Any, name: str) -> Any:
    """A value that a query selected beside the row's columns."""
    return getattr(row, name)


def _may_use(alias: ModelAlias) -> bool:
    return bool(alias.is_open or _annotated(alias, "given_id") or _annotated(alias, "bundled_id"))


def _of_group(members: list[ModelGroupMember], asked: str) -> ResolvedModel:
    first, *others = members
    return _of_member(first, asked, tuple(_of_member(member, asked) for member in others))


def _of_member(member: ModelGroupMember, asked: str, fallbacks: tuple[ResolvedModel, ...] = ()) -> ResolvedModel:
    price_id = _annotated(member, "price_id")
    if member.alias is not None:
        return _of_alias(member.alias, asked, fallbacks, price_id=price_id)
    return ResolvedModel(
        asked=asked,
        alias=member.provider_model,
        route=member.route,
        provider=member.provider,
        # Other routes go through LiteLLM, which tells providers apart by that very prefix.
        provider_model=model_of(member.provider, member.provider_model)
        if member.route == ModelAlias.Route.OPENAI
        else member.provider_model,
        **_priced(None, None, price_id),
        max_output_tokens=None,
        fallbacks=fallbacks,
    )


def _priced(alias_input: int | None, alias_output: int | None, price_id: UUID | None) -> dict[str, Any]:
    """Which price counts for a model, unless its backend reports what a call cost (`jobs.metering`): the operator's
    on the alias, the one in force, the estimate if there is to be one, none."""
    source, rates = PriceSource.NONE, None
    if alias_input is not None and alias_output is not None:
        source, price_id, rates = PriceSource.ALIAS, None, Rates(alias_input, alias_output)
    elif price_id is not None:
        source, rates = PriceSource.PRICE, prices.rates_of(price_id)
    elif settings.UNPRICED_MODELS == "estimate":
        source = PriceSource.ESTIMATE
        rates = Rates(settings.UNPRICED_INPUT_NANOUSD_PER_MTOK, settings.UNPRICED_OUTPUT_NANOUSD_PER_MTOK)
    return {
        "input_nanousd_per_mtok": rates and rates.input,
        "output_nanousd_per_mtok": rates and rates.output,
        "price_source": source,
        "price_id": price_id,
        "price_rates": rates,
    }


def _of_alias(
    alias: ModelAlias, asked: str, fallbacks: tuple[ResolvedModel, ...] = (), *, price_id: UUID | None
) -> ResolvedModel:
    return ResolvedModel(
        asked=asked,
        alias=alias.name,
        route=alias.route,
        provider=alias.provider,
        provider_model=alias.provider_model,
        **_priced(alias.input_nanousd_per_mtok, alias.output_nanousd_per_mtok, price_id),
        max_output_tokens=alias.max_output_tokens,
        default_output_tokens=alias.default_output_tokens,
        context_window_tokens=alias.context_window_tokens,
        max_choices=alias.max_choices,
        timeout_s=alias.timeout_s,
        supports_vision=alias.supports_vision,
        supports_audio=alias.supports_audio,
        supports_tools=alias.supports_tools,
        supports_json_schema=alias.supports_json_schema,
        supports_streaming=alias.supports_streaming,
        supports_embeddings=alias.supports_embeddings,
        fallbacks=fallbacks,
    )


_cache: ShortCache[ResolvedModel] = ShortCache(seconds=CACHE_S)


def resolve_cached(team: Team, asked: str | None, *, only: tuple[str, ...] = ()) -> ResolvedModel:
    """`resolve`, as it was at most CACHE_S ago in this process."""
    return _cache.get((team.pk, asked, only), lambda: resolve(team, asked, only=only))


def forget_cached() -> None:
    """Empty this process's cache: after a change made here (by a signal of the models), and between tests."""
    _cache.clear()
