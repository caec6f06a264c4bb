"""Edit a team: its name, models and metadata; and what its jobs cost."""

import json
from decimal import Decimal
from typing import Any

from django import forms

from apps.catalog import services as catalog
from apps.console import links, team_models
from apps.console.actions.base import Action, ActionForm, Change, Done, Preview, StaleState
from apps.core.actors import Actor
from apps.core.admin_columns import exact_percent
from apps.core.admin_forms import ObjectField
from apps.core.errors import InvalidRequest
from apps.core.money import exact_credits
from apps.credits import billing
from apps.organizations.rights import Right
from apps.provisioning import services as provisioning
from apps.teams import services as teams
from apps.teams.models import Team

BUDGET_MODES = [
    ("job_based", "job_based: one price a job"),
    ("consumption_usd", "consumption_usd: credits per dollar of provider cost"),
    ("consumption_tokens", "consumption_tokens: tokens per credit"),
]


class TeamForm(ActionForm):
    """A team as it is to be."""

    alias = forms.CharField(max_length=255, required=False, label="Name", help_text="for people")
    access_groups = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="Access groups and aliases",
        help_text="what its calls may name, besides aliases that are open to all",
    )
    model_groups = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple, help_text="each several models behind one name"
    )
    default_model = forms.CharField(
        max_length=255,
        required=False,
        help_text="for calls that name none; empty: the platform's",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    metadata = ObjectField(
        required=False,
        initial=dict,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="a JSON object; empty for none",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        team_models.offer(self)


class OfTeam(Action):
    """An action on a team that is not closed."""

    obj: Team

    def load(self, team_id: str = "", **kwargs: Any) -> None:
        self.obj = teams.find(team_id)
        self.title = f"{self.verb} {self.obj.team_id}"

    def back_url(self) -> str:
        return links.team(self.obj.team_id)

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        return False

    def require_possible(self) -> None:
        if self.obj.status == Team.Status.CLOSED:
            raise StaleState(f"{self.obj.team_id} is closed and never changes.")


class EditTeam(OfTeam):
    right = Right.CUSTOMERS_WRITE
    form_class = TeamForm
    verb = "Edit"
    busy = "Saving…"
    is_live = True

    def load(self, team_id: str = "", **kwargs: Any) -> None:
        super().load(team_id)
        self.models = catalog.models_of([self.obj])[self.obj.pk]

    def doing(self) -> str:
        return "edit teams"

    def initial(self) -> dict[str, Any]:
        return {
            "alias": self.obj.alias,
            "access_groups": self.models.access_groups,
            "model_groups": self.models.model_groups,
            "default_model": self.models.default_model or "",
            "metadata": self.obj.metadata,
        } | super().initial()

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        now = self.shown(
            self.obj.alias,
            self.models.access_groups,
            self.models.model_groups,
            self.models.default_model,
            self.obj.metadata,
        )
        after = now if asked is None else self.as_asked(asked)
        changes = [Change(label, before, after[label]) for label, before in now.items()]
        return Preview([each for each in changes if each.is_change], seen=json.dumps(now)[:255])

    def as_asked(self, asked: dict[str, Any]) -> dict[str, str]:
        return self.shown(
            asked["alias"],
            asked.get("access_groups", self.models.access_groups),
            asked.get("model_groups", self.models.model_groups),
            asked["default_model"],
            asked["metadata"],
        )

    def shown(
        self, alias: str, access: list[str], groups: list[str], default: str | None, metadata: dict[str, Any]
    ) -> dict[str, str]:
        return {
            "Name": alias,
            "Access groups and aliases": ", ".join(sorted(access)),
            "Model groups": ", ".join(sorted(groups)),
            "Default model": default or "",
            "Metadata": json.dumps(metadata, sort_keys=True, ensure_ascii=False),
        }

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        default = asked["default_model"]
        changed = default != (self.models.default_model or "")
        change = provisioning.TeamChange(
            alias=asked["alias"],
            metadata=asked["metadata"],
            access_groups=asked.get("access_groups"),
            model_groups=asked.get("model_groups"),
            default_model=default if changed and default else None,
            clears_default_model=changed and not default,
        )
        provisioning.update_team(self.obj, change, actor=actor)
        return Done(f"{self.obj.team_id} was saved.", self.back_url())


class PriceForm(ActionForm):
    """How a team is priced. A rate left empty stays as it is."""

    budget_mode = forms.ChoiceField(choices=BUDGET_MODES)
    credits_per_dollar = forms.DecimalField(
        required=False,
        min_value=Decimal("0.000001"),
        max_value=Decimal(1_000_000),
        decimal_places=6,
        help_text="of consumption_usd",
    )
    tokens_per_credit = forms.IntegerField(
        required=False, min_value=1, max_value=1_000_000_000_000, help_text="of consumption_tokens"
    )
    cost_markup_percentage = forms.DecimalField(
        required=False,
        min_value=Decimal(0),
        max_value=Decimal(100_000),
        decimal_places=4,
        label="Markup",
        help_text="percent on the provider's cost, of consumption_usd",
    )


class TeamPrices(OfTeam):
    """A new version of the team's own card for every job type, in force at once."""

    right = Right.CARDS_WRITE
    form_class = PriceForm
    verb = "Change prices"
    busy = "Changing…"
    is_live = True

    def load(self, team_id: str = "", **kwargs: Any) -> None:
        super().load(team_id)
        self.title = f"Prices of {self.obj.team_id}"
        self.plan = billing.plan(self.obj)

    def back_url(self) -> str:
        return links.team(self.obj.team_id, "rate-cards")

    def initial(self) -> dict[str, Any]:
        return _as_typed(self.plan) | super().initial()

    def changed(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What is given and not as before."""
        before = _as_typed(self.plan)
        return {name: value for name, value in asked.items() if value is not None and value != before[name]}

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        before = _as_typed(self.plan)
        after = before if asked is None else before | self.changed(asked)
        changes = [Change(label, str(before[name]), str(after[name])) for name, label in _LABELS.items()]
        return Preview(
            changes,
            ["Jobs that begin from now on; jobs begun keep their price."],
            seen=json.dumps(before, default=str),
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        changes = self.changed(asked)
        if not changes:
            raise InvalidRequest("Nothing is different from the prices in force.")
        billing.change_plan(self.obj, actor=actor, **changes)
        return Done(f"Prices of {self.obj.team_id} are in force for jobs that begin from now on.", self.back_url())


_LABELS = {
    "budget_mode": "Budget mode",
    "credits_per_dollar": "Credits per dollar",
    "tokens_per_credit": "Tokens per credit",
    "cost_markup_percentage": "Markup, %",
}


def _as_typed(plan: billing.Plan) -> dict[str, Any]:
    return {
        "budget_mode": plan.budget_mode,
        "credits_per_dollar": Decimal(exact_credits(plan.micros_per_usd)),
        "tokens_per_credit": plan.tokens_per_credit,
        "cost_markup_percentage": Decimal(exact_percent(plan.markup_ppm)),
    }
