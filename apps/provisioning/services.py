"""Writes that span teams, models, keys and credits: one function each, used by API, admin and commands alike."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from apps.catalog import services as catalog
from apps.core.actors import Actor
from apps.core.errors import DomainError, InvalidRequest
from apps.core.ids import new_id
from apps.core.money import NANOUSD, decimal_to_int
from apps.credits import billing, ledger
from apps.credits.models import Entry, Grant
from apps.organizations import services as organizations
from apps.organizations.models import Organization
from apps.provisioning.credits import add_credits, set_allocation
from apps.teams import services as teams
from apps.teams.models import Team
from apps.virtual_keys import services as virtual_keys
from apps.virtual_keys.models import VirtualKey


@dataclass(frozen=True, slots=True)
class CreditTerms:
    """Of a team's first credits: their kind, when they expire, the payment they were bought with."""

    kind: Grant.Kind = Grant.Kind.PAID
    expires_at: datetime | None = None
    payment_id: str | None = None
    payment_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """A team's first key."""

    name: str = "first key"
    scopes: list[str] = field(default_factory=list)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TeamPlan:
    """What a new team gets. Credits are whole."""

    team_id: str
    alias: str = ""
    access_groups: list[str] = field(default_factory=list)
    model_groups: list[str] = field(default_factory=list)
    default_model: str | None = None
    credits: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)
    budget_mode: str | None = None
    credits_per_dollar: Decimal | None = None
    tokens_per_credit: int | None = None
    cost_markup_percentage: Decimal | None = None
    credit_terms: CreditTerms = CreditTerms()
    key: KeyPlan = KeyPlan()


@dataclass(frozen=True, slots=True)
class ProvisionedTeam:
    """A team with its first key; `secret` is shown once."""

    team: Team
    key: VirtualKey
    secret: str


def create_team(organization: Organization, plan: TeamPlan, *, actor: Actor) -> ProvisionedTeam:
    """Make a team with models, prices, a wallet, credits and a key: all of it or nothing.

    Raises: what its parts raise (TeamExists, AliasNotFound, InvalidRequest, InvalidField).
    """
    with transaction.atomic():
        team = _create_team(organization, plan, actor=actor)
        key, secret = _first_key(team, plan.key, actor=actor)
    return ProvisionedTeam(team, key, secret)


def _create_team(organization: Organization, plan: TeamPlan, *, actor: Actor) -> Team:
    team = teams.create(organization, team_id=plan.team_id, alias=plan.alias, metadata=plan.metadata, actor=actor)
    if plan.access_groups or plan.model_groups:
        catalog.set_team_models(team, actor=actor, access_groups=plan.access_groups, model_groups=plan.model_groups)
    if plan.default_model is not None:
        catalog.set_team_default(team, plan.default_model, actor=actor)
    if (
        plan.budget_mode not in (None, "job_based")
        or plan.credits_per_dollar is not None
        or plan.tokens_per_credit is not None
        or plan.cost_markup_percentage is not None
    ):
        billing.change_plan(
            team,
            actor=actor,
            budget_mode=plan.budget_mode,
            credits_per_dollar=plan.credits_per_dollar,
            tokens_per_credit=plan.tokens_per_credit,
            cost_markup_percentage=plan.cost_markup_percentage,
        )
    ledger.open_wallet(team)
    if plan.credits:
        _grant_first(team, plan, actor=actor)
    return team


def _grant_first(team: Team, plan: TeamPlan, *, actor: Actor) -> None:
    terms = plan.credit_terms
    price = None
    if terms.payment_usd is not None:
        price = decimal_to_int(terms.payment_usd / plan.credits, scale=NANOUSD)
    add_credits(
        team,
        credits=plan.credits,
        actor=actor,
        key="initial",
        reason="Initial allocation",
        kind=terms.kind,
        expires_at=terms.expires_at,
        external_id=terms.payment_id,
        price_nanousd_per_credit=price,
    )


def _first_key(team: Team, plan: KeyPlan, *, actor: Actor) -> tuple[VirtualKey, str]:
    return virtual_keys.issue(team, actor=actor, name=plan.name, scopes=plan.scopes, expires_at=plan.expires_at)


@dataclass(frozen=True, slots=True)
class CustomerPlan:
    """A customer to be: an organization that exists, or a new one by its name, and a team of it.

    Without `has_key` the team has no key yet.
    """

    organization_id: str
    team: TeamPlan
    new_organization: str | None = None
    time_zone: str = "UTC"
    has_key: bool = True


@dataclass(frozen=True, slots=True)
class ProvisionedCustomer:
    """What was made. `secret` is shown once, None without a key."""

    organization: Organization
    team: Team
    key: VirtualKey | None
    secret: str | None


def provision(plan: CustomerPlan, *, actor: Actor) -> ProvisionedCustomer:
    """Make a customer that can call at once: organization, team, models, credits and key, all of it or nothing.

    Raises: what its parts raise (OrganizationExists, OrganizationNotFound, TeamExists, AliasNotFound, InvalidField,
    InvalidRequest, IdempotencyConflict for a payment that came before).
    """
    with transaction.atomic():
        if plan.new_organization is None:
            organization = organizations.find(plan.organization_id)
        else:
            organization = organizations.create(
                organization_id=plan.organization_id,
                name=plan.new_organization,
                time_zone=plan.time_zone,
                actor=actor,
            )
        team = _create_team(organization, plan.team, actor=actor)
        if not plan.has_key:
            return ProvisionedCustomer(organization, team, None, None)
        key, secret = _first_key(team, plan.team.key, actor=actor)
    return ProvisionedCustomer(organization, team, key, secret)


@dataclass(frozen=True, slots=True)
class ProvisionedOrganization:
    """An organization with, if asked for, its first team; `team_error` says why there is none."""

    organization: Organization
    team: ProvisionedTeam | None
    team_error: str | None


def create_organization(
    *,
    organization_id: str,
    name: str,
    actor: Actor,
    metadata: dict[str, Any] | None = None,
    time_zone: str = "UTC",
    default_team: TeamPlan | None = None,
) -> ProvisionedOrganization:
    """Make an organization and, if given, its default team. It is made even when the team cannot be.

    Raises: OrganizationExists, InvalidField.
    """
    with transaction.atomic():
        organization = organizations.create(
            organization_id=organization_id, name=name, metadata=metadata, time_zone=time_zone, actor=actor
        )
        if default_team is None:
            return ProvisionedOrganization(organization, None, None)
        try:
            with transaction.atomic():
                return ProvisionedOrganization(
                    organization, create_team(organization, default_team, actor=actor), None
                )
        except DomainError as error:
            return ProvisionedOrganization(organization, None, error.message)


@dataclass(frozen=True, slots=True)
class TeamChange:
    """What is to be different about a team; what is None stays. Credits are whole."""

    alias: str | None = None
    metadata: dict[str, Any] | None = None
    access_groups: list[str] | None = None
    model_groups: list[str] | None = None
    default_model: str | None = None
    clears_default_model: bool = False
    credits: int | None = None
    budget_mode: str | None = None
    credits_per_dollar: Decimal | None = None
    tokens_per_credit: int | None = None
    cost_markup_percentage: Decimal | None = None

    @property
    def pricing(self) -> dict[str, Any]:
        """The fields of the team's price plan that are given."""
        given = {
            "budget_mode": self.budget_mode,
            "credits_per_dollar": self.credits_per_dollar,
            "tokens_per_credit": self.tokens_per_credit,
            "cost_markup_percentage": self.cost_markup_percentage,
        }
        return {name: value for name, value in given.items() if value is not None}


def update_team(team: Team, change: TeamChange, *, actor: Actor) -> None:
    """Change a team's names, models, prices and allocation: all of it or nothing.

    Raises: what its parts raise (AliasNotFound, InvalidRequest).
    """
    with transaction.atomic():
        teams.update(team, actor=actor, alias=change.alias, metadata=change.metadata)
        if change.access_groups is not None or change.model_groups is not None:
            catalog.set_team_models(
                team, actor=actor, access_groups=change.access_groups, model_groups=change.model_groups
            )
        if change.default_model is not None or change.clears_default_model:
            catalog.set_team_default(team, change.default_model, actor=actor)
        if change.pricing:
            billing.change_plan(team, actor=actor, **change.pricing)
        if change.credits is not None:
            set_allocation(team, credits=change.credits, actor=actor, key=f"allocation:{new_id()}")


@dataclass(frozen=True, slots=True)
class EnsuredCustomer:
    """A customer that exists now. `secret` is a key issued just now, None when the team had a key before."""

    organization: Organization
    team: Team
    secret: str | None


def ensure_customer(
    *,
    organization_id: str,
    team_id: str,
    credits: int,
    actor: Actor,
    models: list[str] | None = None,
    default_model: str | None = None,
    new_key: bool = False,
) -> EnsuredCustomer:
    """Make organization, team, wallet, credits and key as far as they are missing. Repeatable.

    Credits are granted once, as the team's first allocation. A key is issued when the team has no usable one, or
    when `new_key` asks for it.
    Raises: InvalidRequest when the team belongs to another organization; what its parts raise.
    """
    with transaction.atomic():
        organization = Organization.objects.filter(organization_id=organization_id).first() or organizations.create(
            organization_id=organization_id, name=organization_id, actor=actor
        )
        team = Team.objects.select_related("organization").filter(team_id=team_id).first()
        if team is None:
            plan = TeamPlan(team_id=team_id, credits=credits, access_groups=models or [], default_model=default_model)
            made = create_team(organization, plan, actor=actor)
            return EnsuredCustomer(organization, made.team, made.secret)
        if team.organization_id != organization.pk:
            raise InvalidRequest(f"Team '{team_id}' belongs to organization '{team.organization.organization_id}'")
        if models is not None:
            catalog.set_team_models(team, access_groups=models, actor=actor)
        if default_model is not None:
            catalog.set_team_default(team, default_model, actor=actor)
        if credits and not Entry.objects.filter(idempotency_key=f"grant:{team_id}:initial").exists():
            add_credits(team, credits=credits, actor=actor, key="initial", reason="Initial allocation")
        secret = None
        if new_key or not virtual_keys.has_usable_key(team):
            _, secret = virtual_keys.issue(team, actor=actor, name="provisioned")
    return EnsuredCustomer(organization, team, secret)
