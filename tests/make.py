"""Makes what tests need, through the product's own functions. Credits are whole."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from apps.catalog import access_groups, model_groups
from apps.catalog import services as catalog
from apps.catalog.models import AccessGroup, ModelAlias, ModelGroup
from apps.core.actors import Actor
from apps.organizations import operators, tokens
from apps.organizations.identity import Operator
from apps.organizations.models import OperatorToken, Organization, User
from apps.provisioning import services as provisioning
from apps.teams.models import Team
from apps.virtual_keys import services as virtual_keys
from apps.virtual_keys.services import Principal

TESTER = Actor("command", "tests")
PLATFORM = Operator(TESTER, "owner")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Customer:
    """A team with its key."""

    organization: Organization
    team: Team
    secret: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}

    @property
    def principal(self) -> Principal:
        virtual_keys.forget_cached()
        return virtual_keys.authenticate(self.secret)


def organization(organization_id: str | None = None) -> Organization:
    organization_id = organization_id or f"org-{next(_numbers)}"
    return provisioning.create_organization(
        organization_id=organization_id, name=organization_id.title(), actor=TESTER
    ).organization


def customer(
    *, credits: int = 100, team_id: str | None = None, org: Organization | None = None, **plan: Any
) -> Customer:
    org = org or organization()
    team_id = team_id or f"team-{next(_numbers)}"
    made = provisioning.create_team(
        org, provisioning.TeamPlan(team_id=team_id, credits=credits, **plan), actor=TESTER
    )
    return Customer(org, made.team, made.secret)


def metered_customer(*, credits: int = 100, credits_per_dollar: int = 10, **plan: Any) -> Customer:
    return customer(
        credits=credits,
        budget_mode="consumption_usd",
        credits_per_dollar=Decimal(credits_per_dollar),
        **plan,
    )


@dataclass(frozen=True)
class Staff:
    """An operator with a token."""

    user: User
    token: OperatorToken
    secret: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}

    @property
    def works(self) -> Operator:
        """The operator at work, signed in."""
        return Operator(Actor("operator", self.user.email), self.user.role, self.user)


def operator(role: str = "owner", *, email: str | None = None, scopes: Sequence[str] = ()) -> Staff:
    """An operator of this role; one e-mail is one operator, with another token."""
    email = email or f"{role}@example.com"
    user = User.objects.filter(email=email).first() or operators.create(email=email, role=role, by=PLATFORM)
    token, secret = tokens.issue(user, by=PLATFORM, name="tests", scopes=scopes)
    return Staff(user, token, secret)


def platform_model(
    name: str = "chat-default",
    *,
    route: ModelAlias.Route = ModelAlias.Route.DEMO,
    provider_model: str = "demo",
) -> ModelAlias:
    return catalog.set_platform_default(name=name, provider_model=provider_model, route=route, actor=TESTER)


def alias(
    name: str, *, input_usd_per_mtok: int | None = None, output_usd_per_mtok: int | None = None, **fields: Any
) -> ModelAlias:
    return ModelAlias.objects.create(
        name=name,
        provider_model=fields.pop("provider_model", f"provider/{name}"),
        route=fields.pop("route", ModelAlias.Route.DEMO),
        input_nanousd_per_mtok=None if input_usd_per_mtok is None else input_usd_per_mtok * 10**9,
        output_nanousd_per_mtok=None if output_usd_per_mtok is None else output_usd_per_mtok * 10**9,
        **fields,
    )


def access_group(name: str, *aliases: str, **fields: Any) -> AccessGroup:
    """An access group of aliases that exist."""
    access_groups.create(name, aliases=aliases, actor=TESTER)
    return access_groups.update(name, actor=TESTER, **fields)


def model_group(name: str, *models: str, **fields: Any) -> ModelGroup:
    """A model group, its models in the order in which they are tried."""
    members = [model_groups.Member(model, priority) for priority, model in enumerate(models)]
    model_groups.create(name, members=members, actor=TESTER)
    return model_groups.update(name, actor=TESTER, **fields)
