"""A customer in one request: what the console's form does."""

from typing import Annotated, Any, Literal

from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present
from apps.api.authentication import OperatorView
from apps.api.fields import Credits, FutureInstant, Label, Metadata, Name, Names, Rate
from apps.api.idempotent import respond
from apps.api.parsing import Input, Text255, parse
from apps.api.teams import shown
from apps.core.errors import InvalidField
from apps.credits.models import Grant
from apps.organizations import services as organizations
from apps.organizations.rights import Right
from apps.provisioning import services as provisioning
from apps.provisioning.services import CreditTerms, CustomerPlan, KeyPlan, TeamPlan
from apps.teams import services as teams


class ProvisionInput(Input):
    """A customer to be. `organization_name` makes the organization; without it there must be one of that id."""

    organization_id: Text255
    organization_name: Label | None = None
    time_zone: Text255 | None = None
    team_id: Text255
    team_alias: Label | None = None
    access_groups: Names | None = None
    model_groups: Names | None = None
    default_model: Name | None = None
    metadata: Metadata | None = None
    credits_allocated: Credits | None = None
    credits_kind: Literal["paid", "promotional", "goodwill", "subscription"] = "paid"
    credits_expires_at: FutureInstant | None = None
    payment_id: Text255 | None = None
    payment_amount_usd: Annotated[Rate, Field(ge=0, le=1_000_000_000)] | None = None
    issue_key: bool = True
    key_name: Label | None = None
    key_scopes: Names | None = None
    key_expires_at: FutureInstant | None = None

    def plan(self) -> CustomerPlan:
        """Raises: InvalidField for a payment without credits."""
        if (self.payment_id or self.payment_amount_usd) and not self.credits_allocated:
            raise InvalidField("credits_allocated", "A payment is for credits: say how many.")
        return CustomerPlan(
            organization_id=self.organization_id,
            new_organization=self.organization_name,
            time_zone=self.time_zone or "UTC",
            has_key=self.issue_key,
            team=TeamPlan(
                team_id=self.team_id,
                alias=self.team_alias or "",
                access_groups=self.access_groups or [],
                model_groups=self.model_groups or [],
                default_model=self.default_model,
                metadata=self.metadata or {},
                credits=self.credits_allocated or 0,
                credit_terms=CreditTerms(
                    Grant.Kind(self.credits_kind),
                    self.credits_expires_at,
                    self.payment_id,
                    self.payment_amount_usd,
                ),
                key=KeyPlan(self.key_name or "first key", self.key_scopes or [], self.key_expires_at),
            ),
        )


class Provision(OperatorView):
    """POST /api/provision: organization, team, models, credits and key, all of it or nothing."""

    rights = {"POST": Right.CUSTOMERS_WRITE}

    def post(self, request: Request) -> Response:
        body = parse(ProvisionInput, request)
        if body.credits_allocated:
            self.caller.require(Right.CREDITS_WRITE)
        if body.issue_key:
            self.caller.require(Right.KEYS_WRITE)
        plan = body.plan()

        def effect() -> tuple[dict[str, Any], str]:
            made = provisioning.provision(plan, actor=self.caller.actor)
            ids = {
                "organization_id": made.organization.organization_id,
                "team_id": made.team.team_id,
                "key_id": str(made.key.pk) if made.key else None,
            }
            return ids, made.secret or ""

        return respond(self, request, effect=effect, render=_made)


def _made(ids: dict[str, Any], secret: str | None) -> dict[str, Any]:
    return {
        "organization": present.organization(organizations.find(ids["organization_id"]), to_operator=True),
        "team": shown(teams.find(ids["team_id"])),
        "key_id": ids["key_id"],
        "virtual_key": secret or None,
        "message": "Customer provisioned",
    }
