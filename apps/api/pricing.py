"""How a team is priced: its markup, budget mode and rates, changed one part at a time."""

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.authentication import OperatorView
from apps.api.fields import Rate
from apps.api.parsing import Input, parse
from apps.credits import billing
from apps.organizations.rights import Right
from apps.teams import services as teams


class MarkupInput(Input):
    """A team's markup on what providers charge, with the prices it belongs to."""

    cost_markup_percentage: Rate
    budget_mode: str | None = None
    credits_per_dollar: Rate | None = None


class BudgetModeInput(Input):
    """How a team's jobs are priced."""

    budget_mode: str
    credits_per_dollar: Rate | None = None
    tokens_per_credit: int | None = None


class RatesInput(Input):
    """What a credit is worth in metered modes."""

    credits_per_dollar: Rate | None = None
    tokens_per_credit: int | None = None


class _ChangesPlan(OperatorView):
    """PATCH with some terms of the team's plan; answers with those that `shown` names."""

    rights = {"PATCH": Right.CARDS_WRITE}

    terms: ClassVar[type[Input]]
    shown: ClassVar[tuple[str, ...]]
    message: ClassVar[str]

    def patch(self, request: Request, team_id: str) -> Response:
        changes = parse(self.terms, request).model_dump(exclude_none=True)
        team = teams.find(team_id)
        # Without a change there is no new version of the team's card.
        plan = billing.change_plan(team, actor=self.caller.actor, **changes) if changes else billing.plan(team)
        return Response(
            {"team_id": team_id, **{name: getattr(plan, name) for name in self.shown}, "message": self.message}
        )


class TeamMarkup(_ChangesPlan):
    """PATCH /api/teams/{team_id}/markup"""

    terms = MarkupInput
    shown = ("cost_markup_percentage", "budget_mode", "credits_per_dollar")
    message = "Markup updated successfully"


class TeamBudgetMode(_ChangesPlan):
    """PATCH /api/credits/teams/{team_id}/budget-mode"""

    terms = BudgetModeInput
    shown = ("budget_mode", "credits_per_dollar", "tokens_per_credit")
    message = "Budget mode updated successfully"


class ConversionRates(_ChangesPlan):
    """GET and PATCH /api/credits/teams/{team_id}/conversion-rates"""

    rights = {"GET": Right.VIEW, "PATCH": Right.CARDS_WRITE}

    terms = RatesInput
    shown = ("tokens_per_credit", "credits_per_dollar")
    message = "Conversion rates updated successfully"

    def get(self, request: Request, team_id: str) -> Response:
        plan = billing.plan(teams.find(team_id))
        return Response(
            {
                "team_id": team_id,
                "tokens_per_credit": plan.tokens_per_credit,
                "credits_per_dollar": plan.credits_per_dollar,
                "budget_mode": plan.budget_mode,
                "using_defaults": {
                    "tokens_per_credit": plan.uses_default_tokens,
                    "credits_per_dollar": plan.uses_default_rate,
                },
            }
        )
