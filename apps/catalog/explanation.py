"""Why a name that a team's call gives resolves, or does not: the steps of `resolution` in words.

The outcome is what `resolve` itself says, so that the words can never lead elsewhere than a call.
"""

from dataclasses import dataclass

from apps.catalog import resolution
from apps.catalog.errors import ModelGroupUnavailable, ModelNotAllowed, NoModelAvailable
from apps.catalog.models import (
    AccessGroup,
    GroupStatus,
    ModelAlias,
    ModelGroup,
    TeamAlias,
    TeamDefaultModel,
    TeamModelGroup,
)
from apps.catalog.resolution import ResolvedModel
from apps.teams.models import Team


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was looked at in order, and what came of it: a model, or the refusal that a call would get."""

    steps: list[str]
    model: ResolvedModel | None
    refusal: str


def explain(team: Team, asked: str) -> Explanation:
    """Of a name, or of none (empty): the team's default. At most nine queries."""
    steps = _of_name(team, asked) if asked else _of_none(team)
    try:
        return Explanation(steps, resolution.resolve(team, asked), "")
    except (ModelNotAllowed, ModelGroupUnavailable, NoModelAvailable) as error:
        return Explanation(steps, None, error.message)


def _of_name(team: Team, asked: str) -> list[str]:
    alias = ModelAlias.objects.filter(name=asked).first()
    if alias is None:
        return [f"No alias is named “{asked}”, so a model group is looked for.", *_of_group(team, asked)]
    if alias.status != ModelAlias.Status.ACTIVE:
        passed_over = f"The alias “{asked}” is {alias.status}, so a model group is looked for."
        return [passed_over, *_of_group(team, asked)]
    return [f"There is an active alias “{asked}”; it goes before a model group of that name.", _given(team, alias)]


def _given(team: Team, alias: ModelAlias) -> str:
    if alias.is_open:
        return "It is open to every team."
    if TeamAlias.objects.filter(team=team, alias=alias).exists():
        return "The team was given it by itself."
    bundles = AccessGroup.objects.filter(members__alias=alias, team_access__team=team).order_by("id")
    active = [bundle.name for bundle in bundles if bundle.status == GroupStatus.ACTIVE]
    if active:
        return f"The team has it through the access group “{active[0]}”."
    if bundles:
        return f"The team's access group “{bundles[0].name}” holds it, and is {bundles[0].status}."
    return "The team was given neither it nor an access group that holds it."


def _of_group(team: Team, asked: str) -> list[str]:
    group = ModelGroup.objects.filter(name=asked).first()
    if group is None:
        return [f"No model group is named “{asked}” either."]
    if not TeamModelGroup.objects.filter(team=team, model_group=group).exists():
        return [f"There is a model group “{asked}”, which the team was not given."]
    if group.status != GroupStatus.ACTIVE:
        return [f"The team was given the model group “{asked}”, which is {group.status}."]
    usable = [member for member in group.members.select_related("alias") if member.is_active]
    alive = [each for each in usable if each.alias is None or each.alias.status == ModelAlias.Status.ACTIVE]
    return [f"The team was given the model group “{asked}”; {len(alive)} of its models can answer, in order."]


def _of_none(team: Team) -> list[str]:
    chosen = TeamDefaultModel.objects.select_related("alias", "model_group").filter(team=team).first()
    what = None if chosen is None else chosen.alias or chosen.model_group
    steps = [
        "The call names no model, so a default is looked for.",
        f"The team's default is “{what.name}”." if what else "The team has no default of its own.",
    ]
    platform = ModelAlias.objects.filter(is_default=True, status=ModelAlias.Status.ACTIVE).first()
    steps.append(
        f"The platform's default is “{platform.name}”; it counts if the team may use it."
        if platform
        else "The platform has no default."
    )
    return [*steps, "After those the team's first alias, then its first model group."]
