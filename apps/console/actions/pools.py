"""An organization's pool: fund it, allocate from it to teams, reclaim from them."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError

from apps.console import formats
from apps.console import money_links as links
from apps.console.actions.base import Change, Done, Preview, ReasonForm
from apps.console.actions.credits import CreditAction, TermsForm, available, debt_line, end_of, entry_done, new_lot
from apps.console.amounts import CreditsField
from apps.core.actors import Actor
from apps.core.errors import NotFound
from apps.core.money import MICROS
from apps.credits import billing, lots
from apps.credits.models import Account, Entry, Grant
from apps.organizations import services as organizations
from apps.organizations.models import Organization
from apps.provisioning import credits as operators
from apps.teams import services as teams
from apps.teams.models import Team


class FundForm(TermsForm):
    field_order = ("credits", "kind", "last_day", "reason")


class FundPool(CreditAction):
    form_class = FundForm
    verb = "Grant"
    busy = "Granting…"
    obj: Organization

    def load(self, organization_id: str = "", **kwargs: Any) -> None:
        self.obj = organizations.find(organization_id)
        self.title = f"Give credits to the pool of {organization_id}"

    def doing(self) -> str:
        return "fund pools"

    def back_url(self) -> str:
        return links.organization(self.obj)

    def accounts(self) -> Sequence[Account]:
        pool = lots.pool_of(self.obj)
        return [pool] if pool is not None else []

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        accounts = self.accounts()
        pool = accounts[0] if accounts else None
        micros = asked["credits"] if asked else 0
        before = available(pool)
        lines = [] if asked is None else [new_lot(asked["kind"], asked["last_day"]), *debt_line(pool, micros)]
        return Preview(
            [Change("In the pool", formats.credits(before), formats.credits(before + micros))],
            [*lines, "Teams can spend it once it is allocated to them."],
            self.seen(accounts),
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        self.require_unchanged()
        entry = operators.fund_pool(
            self.obj,
            credits=asked["credits"] // MICROS,
            actor=actor,
            key=self.key,
            reason=asked["reason"],
            kind=Grant.Kind(asked["kind"]),
            expires_at=end_of(asked["last_day"]),
        )
        amount = formats.credits_in_words(asked["credits"])
        return entry_done(f"{amount} given to the pool of {self.obj.organization_id}.", entry)


class MoveForm(ReasonForm):
    credits = CreditsField(whole=True)
    field_order = ("credits", "reason")


class MoveOfOrganizationForm(ReasonForm):
    """Which of the organization's teams."""

    team = forms.CharField(max_length=255, widget=forms.TextInput(attrs={"autocomplete": "off"}), help_text="team id")
    credits = CreditsField(whole=True)
    field_order = ("team", "credits", "reason")

    def __init__(self, *args: Any, organization: Organization, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.organization = organization

    def clean_team(self) -> Team:
        team_id = self.cleaned_data["team"]
        try:
            found = teams.find(team_id)
        except NotFound:
            found = None
        if found is None or found.organization_id != self.organization.pk:
            raise ValidationError(f"{self.organization.organization_id} has no team {team_id}.")
        return found


class Move(CreditAction):
    """Between the pool and a team's general wallet."""

    form_class: ClassVar[type[ReasonForm]] = MoveForm
    sign: ClassVar[int]
    move: ClassVar[Callable[..., Entry]]
    obj: Team | Organization

    def load(self, team_id: str = "", organization_id: str = "", **kwargs: Any) -> None:
        if team_id:
            self.obj = self.team = teams.find(team_id)
            self.organization = self.team.organization
            self.title = self.heading(team_id)
        else:
            self.obj = self.organization = organizations.find(organization_id)
            self.team = None
            self.title = self.heading("a team")

    team: Team | None
    organization: Organization

    def heading(self, team: str) -> str:
        raise NotImplementedError

    def form_kwargs(self) -> dict[str, Any]:
        return {} if self.team is not None else {"organization": self.organization}

    def doing(self) -> str:
        return "move credits between pools and teams"

    def back_url(self) -> str:
        return links.team(self.obj) if isinstance(self.obj, Team) else links.organization(self.obj)

    def accounts(self) -> Sequence[Account]:
        pool = lots.pool_of(self.organization)
        wallets = lots.wallets_of(self.team) if self.team is not None else []
        return [*([pool] if pool is not None else []), *wallets]

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        team = self.chosen(asked)
        accounts = self.accounts()
        pool = next((each for each in accounts if each.kind == Account.Kind.POOL), None)
        micros = self.sign * (asked["credits"] if asked else 0)
        in_pool = available(pool)
        changes = [Change("In the pool", formats.credits(in_pool), formats.credits(in_pool - micros))]
        if team is not None:
            left = billing.balance(team).spendable_micros
            changes.append(
                Change(f"Available to {team.team_id}", formats.credits(left), formats.credits(left + micros))
            )
        return Preview(changes, self.lines(in_pool, micros), self.seen(accounts))

    def lines(self, in_pool: int, micros: int) -> list[str]:
        raise NotImplementedError

    def chosen(self, asked: dict[str, Any] | None) -> Team | None:
        return (asked or {}).get("team") or self.team

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        self.require_unchanged()
        team = self.chosen(asked)
        assert team is not None
        entry = type(self).move(
            self.organization,
            team,
            credits=asked["credits"] // MICROS,
            actor=actor,
            key=self.key,
            reason=asked["reason"],
        )
        return entry_done(self.said(formats.credits_in_words(asked["credits"]), team), entry)

    def said(self, amount: str, team: Team) -> str:
        raise NotImplementedError


class Allocate(Move):
    verb = "Allocate"
    busy = "Allocating…"
    sign = 1
    move = staticmethod(operators.allocate)

    def heading(self, team: str) -> str:
        return f"Allocate credits of the pool to {team}"

    def lines(self, in_pool: int, micros: int) -> list[str]:
        if micros > in_pool:
            return [f"The pool has {formats.credits_in_words(max(0, in_pool))}: that is the most."]
        return ["Lots keep their kind, price and expiry. What the team does not spend can be reclaimed."]

    def said(self, amount: str, team: Team) -> str:
        return f"{amount} allocated to {team.team_id}."


class Reclaim(Move):
    verb = "Reclaim"
    busy = "Reclaiming…"
    sign = -1
    move = staticmethod(operators.reclaim)

    def heading(self, team: str) -> str:
        return f"Reclaim credits from {team}"

    def lines(self, in_pool: int, micros: int) -> list[str]:
        return ["Only what came from the pool, is left and is held by no job goes back, to the lots it came from."]

    def said(self, amount: str, team: Team) -> str:
        return f"{amount} reclaimed from {team.team_id}."


class AllocateOfOrganization(Allocate):
    """The team is chosen in the form."""

    form_class = MoveOfOrganizationForm


class ReclaimOfOrganization(Reclaim):
    """The team is chosen in the form."""

    form_class = MoveOfOrganizationForm
