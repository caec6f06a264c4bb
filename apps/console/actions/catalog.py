"""Turn models, groups and providers' keys off and on; with who is stopped by it."""

from typing import Any, ClassVar

from django.urls import reverse

from apps.analytics import figures
from apps.analytics.figures import Filters
from apps.analytics.ranges import Preset, of_preset
from apps.catalog import access_groups, aliases, credentials, model_groups
from apps.catalog.models import AccessGroup, ModelAlias, ModelGroup, ProviderCredential, TeamModelGroup
from apps.console import formats
from apps.console.actions.base import Action, Change, Done, Preview, StaleState
from apps.core.actors import Actor
from apps.organizations.rights import Right
from apps.teams.models import Team

_TEAMS_SHOWN = 20


class Turn(Action):
    """Something's new state. Subclasses say of what, and whom it concerns."""

    right = Right.CATALOG_WRITE
    to: ClassVar[str] = "inactive"
    verb = "Turn off"
    busy = "Turning off…"
    is_dangerous: ClassVar[bool] = True
    list_route: ClassVar[str]
    obj: Any

    def name(self) -> str:
        return str(self.obj.name)

    def state(self) -> str:
        return str(self.obj.status)

    def concerned(self) -> list[str]:
        """Who uses it, in words."""
        return []

    def set_state(self, actor: Actor, reason: str) -> None:
        raise NotImplementedError

    def doing(self) -> str:
        return "change models and providers' keys"

    def back_url(self) -> str:
        return reverse(self.list_route)

    def require_possible(self) -> None:
        if self.state() == self.to:
            raise StaleState(f"{self.name()} is {self.state()} already.")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        self.title = f"{self.verb} {self.name()}?"
        lines = self.concerned()
        lines.append(
            "It works again at once." if self.to == "active" else "New calls are refused; running ones finish."
        )
        return Preview([Change("State", self.state(), self.to)], lines, f"{self.obj.pk}:{self.obj.updated_at}")

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        self.set_state(actor, asked["reason"])
        return Done(f"{self.name()} is {self.to}.", self.back_url())


class _On:
    """The other direction."""

    to = "active"
    verb = "Turn on"
    busy = "Turning on…"
    is_dangerous = False


class TurnOffAlias(Turn):
    list_route = "admin:catalog_modelalias_changelist"
    obj: ModelAlias

    def load(self, name: str = "", **kwargs: Any) -> None:
        self.obj = aliases.find(name)
        self.title = f"{self.verb} {name}?"

    def concerned(self) -> list[str]:
        whose = "Every team may use it" if self.obj.is_open else _teams(aliases.teams_using([self.obj])[self.obj.pk])
        groups = self.obj.model_group_members.order_by("group__name").values_list("group__name", flat=True)
        lines = [f"{whose}; {_calls([self.obj.name])}."]
        return [*lines, f"Model groups try their next model instead: {', '.join(groups)}."] if groups else lines

    def set_state(self, actor: Actor, reason: str) -> None:
        aliases.update(self.obj.name, {"status": self.to}, actor=actor, reason=reason)


class TurnOnAlias(_On, TurnOffAlias):
    """An alias is active again."""


class TurnOffModelGroup(Turn):
    list_route = "admin:catalog_modelgroup_changelist"
    obj: ModelGroup

    def load(self, name: str = "", **kwargs: Any) -> None:
        self.obj = model_groups.find(name)
        self.title = f"{self.verb} {name}?"

    def concerned(self) -> list[str]:
        given = TeamModelGroup.objects.filter(model_group=self.obj).exclude(team__status=Team.Status.CLOSED)
        teams = list(given.order_by("team__team_id").values_list("team__team_id", flat=True))
        return [f"{_teams(teams)}; {_calls([self.obj.name])}."]

    def set_state(self, actor: Actor, reason: str) -> None:
        model_groups.update(self.obj.name, actor=actor, status=self.to, reason=reason)


class TurnOnModelGroup(_On, TurnOffModelGroup):
    """A model group is active again."""


class TurnOffAccessGroup(Turn):
    list_route = "admin:catalog_accessgroup_changelist"
    obj: AccessGroup

    def load(self, name: str = "", **kwargs: Any) -> None:
        self.obj = access_groups.find(name)
        self.title = f"{self.verb} {name}?"

    def concerned(self) -> list[str]:
        names = [member.alias.name for member in self.obj.members.all()]
        teams = access_groups.teams_using([self.obj])[self.obj.pk]
        lent = f"It lends {', '.join(names)}: {_calls(names)} by all teams." if names else "It lends no alias."
        return [f"{_teams(teams)}.", lent]

    def set_state(self, actor: Actor, reason: str) -> None:
        access_groups.update(self.obj.name, actor=actor, status=self.to, reason=reason)


class TurnOnAccessGroup(_On, TurnOffAccessGroup):
    """An access group is active again."""


class TurnOffCredential(Turn):
    right = Right.CREDENTIALS_WRITE
    list_route = "admin:catalog_providercredential_changelist"
    obj: ProviderCredential

    def load(self, credential_id: str = "", **kwargs: Any) -> None:
        self.obj = credentials.find(credential_id)
        self.title = f"{self.verb} {self.obj.name}?"

    def state(self) -> str:
        return "active" if self.obj.is_active else "inactive"

    def concerned(self) -> list[str]:
        owner = self.obj.organization
        whose = f"organization {owner.organization_id}" if owner else "every organization without one of its own"
        return [f"Calls of {whose} to {self.obj.provider} go with this key while it is active."]

    def set_state(self, actor: Actor, reason: str) -> None:
        credentials.update(str(self.obj.pk), {"is_active": self.to == "active"}, actor=actor, reason=reason)


class TurnOnCredential(_On, TurnOffCredential):
    """A provider's key is used again."""


def _teams(teams: list[str]) -> str:
    if not teams:
        return "No team uses it"
    more = f" and {len(teams) - _TEAMS_SHOWN} more" if len(teams) > _TEAMS_SHOWN else ""
    return (
        f"{len(teams)} {'team uses' if len(teams) == 1 else 'teams use'} it: {', '.join(teams[:_TEAMS_SHOWN])}{more}"
    )


def _calls(names: list[str]) -> str:
    """How many calls asked for these in the last 24 hours."""
    span = of_preset(Preset.DAY, "UTC")
    found = figures.groups("model", span, Filters(model=names[0] if len(names) == 1 else None))
    total = sum(sums.calls for name, sums in found.items() if name in names)
    return f"{formats.count(total)} calls in the last 24 hours"
