"""Teams: create, read, update, models, state. What a team's wire object needs of other apps is loaded here, in
one constant number of queries for any number of teams."""

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present, present_limits
from apps.api.authentication import Caller, EitherView, KeyView, OperatorView, by_operator
from apps.api.fields import (
    Credits,
    Label,
    Metadata,
    Name,
    Names,
    Rate,
    ReasonInput,
    names_of,
    query_choice,
    query_flag,
    query_text,
)
from apps.api.idempotent import respond
from apps.api.listing import MAX_PAGE, Found, listed, require_page
from apps.api.parsing import Input, Text255, parse
from apps.catalog import services as catalog
from apps.core.errors import InvalidField, InvalidRequest
from apps.credits import allowances, billing
from apps.limits import services as limits
from apps.organizations import services as organizations
from apps.organizations.models import Organization
from apps.organizations.rights import Right
from apps.provisioning import services as provisioning
from apps.provisioning.services import TeamChange, TeamPlan
from apps.teams import services as teams
from apps.teams.models import Team
from apps.virtual_keys import services as virtual_keys

_ORDERS = {name: name for name in ("team_id", "status", "created_at")} | {"credits": "left_micros"}


class PricingInput(Input):
    """How a team is priced. Ranges are judged by the rules, with texts of their own."""

    budget_mode: str | None = None
    credits_per_dollar: Rate | None = None
    tokens_per_credit: int | None = None
    cost_markup_percentage: Rate | None = None

    def pricing(self) -> dict[str, Any]:
        """Raises: InvalidRequest for a budget mode that does not exist."""
        if self.budget_mode is not None and self.budget_mode not in billing.BUDGET_MODES:
            raise InvalidRequest(
                f"Invalid budget_mode: {self.budget_mode[:100]}. Must be one of: {', '.join(billing.BUDGET_MODES)}"
            )
        return {
            "budget_mode": self.budget_mode,
            "credits_per_dollar": self.credits_per_dollar,
            "tokens_per_credit": self.tokens_per_credit,
            "cost_markup_percentage": self.cost_markup_percentage,
        }


class CreateTeamInput(PricingInput):
    """A team to create."""

    organization_id: Text255
    team_id: Text255
    team_alias: Label | None = None
    access_groups: Names | None = None
    model_groups: Names | None = None
    default_model: Name | None = None
    credits_allocated: Credits | None = None
    metadata: Metadata | None = None


class UpdateTeamInput(PricingInput):
    """What is to be different; fields left out stay."""

    team_alias: Label | None = None
    access_groups: Names | None = None
    model_groups: Names | None = None
    default_model: Name | None = None
    credits_allocated: Credits | None = None
    credits_used: Any = None
    metadata: Metadata | None = None


def require_terms(caller: Caller, body: CreateTeamInput | UpdateTeamInput) -> None:
    """Credits and prices given along with a team need their own rights. Raises: RightMissing."""
    if body.credits_allocated is not None:
        caller.require(Right.CREDITS_WRITE)
    if body.model_fields_set & PricingInput.model_fields.keys():
        caller.require(Right.CARDS_WRITE)


def facts(found: list[Team]) -> list[present.TeamFacts]:
    """What is shown of each team: at most nine queries, whatever their number."""
    models, balances = catalog.models_of(found), billing.balances(found)
    plans, prefixes = billing.plans(found), virtual_keys.prefixes(found)
    return [
        present.TeamFacts(team, models[team.pk], balances[team.pk], plans[team.pk], prefixes[team.pk])
        for team in found
    ]


def teams_found(request: Request, organization: Organization | None) -> Found[Team]:
    """A page of the teams that the query asks for, closed ones when `status` says so. `credits` orders by what is
    left. Raises: InvalidBody."""
    matching = teams.matching(
        organization=organization,
        status=query_choice(request, "status", Team.Status.values),
        text=query_text(request, "q"),
    )
    matching = billing.with_left(matching, only_low=query_flag(request, "low") is True)
    return listed(request, matching, default=100, orders=_ORDERS)


def shown(team: Team, *, to_operator: bool = True) -> dict[str, Any]:
    """One team as the wire has it."""
    return present.team(facts([team])[0], to_operator=to_operator)


class CreateTeam(OperatorView):
    """POST /api/teams/create: a team with models, credits and its first key, whose secret is shown once."""

    rights = {"POST": Right.CUSTOMERS_WRITE}

    def post(self, request: Request) -> Response:
        body = parse(CreateTeamInput, request)
        require_terms(self.caller, body)
        return respond(self, request, effect=lambda: self._create(body), render=self._created)

    def _create(self, body: CreateTeamInput) -> tuple[dict[str, Any], str]:
        organization = organizations.find(body.organization_id)
        made = provisioning.create_team(
            organization,
            TeamPlan(
                team_id=body.team_id,
                alias=body.team_alias or "",
                access_groups=body.access_groups or [],
                model_groups=body.model_groups or [],
                default_model=body.default_model,
                credits=body.credits_allocated or 0,
                metadata=body.metadata or {},
                **body.pricing(),
            ),
            actor=self.caller.actor,
        )
        return {"team_id": made.team.team_id, "key_id": str(made.key.pk)}, made.secret

    def _created(self, ids: dict[str, Any], secret: str | None) -> dict[str, Any]:
        return shown(teams.find(ids["team_id"])) | {
            "virtual_key": secret,
            "key_id": ids["key_id"],
            "message": "Team created successfully with LiteLLM integration",
        }


class TeamList(OperatorView):
    """GET /api/teams: an array, narrowed by `organization_id`, `status`, `q` (a part of the id or the alias) and
    `low` (a fifth of its credits left, or less)."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        require_page(request)
        organization_id = query_text(request, "organization_id")
        found = teams_found(request, organizations.find(organization_id) if organization_id else None)
        return found.array(present.team(each, to_operator=True) for each in facts(found.rows))


class OneTeam(EitherView):
    """GET /api/teams/{team_id}, also with the team's own key and when it is suspended; PUT for operators."""

    rights = {"GET": Right.VIEW, "PUT": Right.CUSTOMERS_WRITE}

    def authenticate_caller(self, request: Request) -> Caller:
        return by_operator(request) if request.method == "PUT" else super().authenticate_caller(request)

    def get(self, request: Request, team_id: str) -> Response:
        team = self.team(team_id, refusal=f"API key does not belong to team '{team_id}'")
        to_operator = self.caller.is_operator
        (known,) = facts([team])
        refill = allowances.refill_of(team)
        credits = present.team_credits(team, known.balance, known.plan, refill, to_operator=to_operator)
        own = [present_limits.limit(each) for each in limits.of_team(team)[:MAX_PAGE]]
        return Response(present.team(known, to_operator=to_operator) | {"credits": credits, "limits": own})

    def put(self, request: Request, team_id: str) -> Response:
        body = parse(UpdateTeamInput, request)
        require_terms(self.caller, body)
        if body.credits_used is not None:
            raise InvalidField(
                "credits_used", "credits_used is what jobs were charged; it cannot be set", value=body.credits_used
            )
        change = TeamChange(
            alias=body.team_alias,
            metadata=body.metadata,
            access_groups=body.access_groups,
            model_groups=body.model_groups,
            default_model=body.default_model,
            clears_default_model="default_model" in body.model_fields_set and body.default_model is None,
            credits=body.credits_allocated,
            **body.pricing(),
        )
        provisioning.update_team(teams.find(team_id), change, actor=self.caller.actor)
        return Response(shown(teams.find(team_id)) | {"message": "Team updated successfully"})


class VerifyKey(KeyView):
    """GET /api/teams/verify: whose key this is."""

    def get(self, request: Request) -> Response:
        return Response(
            {
                "team_id": self.principal.team.team_id,
                "organization_id": self.principal.organization.organization_id,
                "status": self.principal.status,
            }
        )


class _SetTeamModels(OperatorView):
    """PUT of one of the lists of names that a team may ask for; `listed` names it."""

    rights = {"PUT": Right.CUSTOMERS_WRITE}

    listed: ClassVar[str]
    message: ClassVar[str]

    def put(self, request: Request, team_id: str) -> Response:
        names = {self.listed: names_of(request, self.listed)}
        models = catalog.set_team_models(teams.find(team_id), actor=self.caller.actor, **names)
        return Response(
            {
                "team_id": team_id,
                self.listed: getattr(models, self.listed),
                "allowed_model_aliases": models.allowed,
                "message": self.message,
            }
        )


class TeamAccessGroups(_SetTeamModels):
    """PUT /api/teams/{team_id}/access-groups: a bare array of names, which replaces the list."""

    listed, message = "access_groups", "Model access groups assigned successfully"


class TeamModelGroups(_SetTeamModels):
    """PUT /api/teams/{team_id}/model-groups: an array, bare or under its name, which replaces the list."""

    listed, message = "model_groups", "Model groups assigned successfully"


class _SetTeamStatus(OperatorView):
    """PUT or POST; the reason is optional, and so is the body."""

    rights = {"PUT": Right.STATE_WRITE, "POST": Right.STATE_WRITE}

    status: ClassVar[str]
    done: ClassVar[str]

    def put(self, request: Request, team_id: str) -> Response:
        reason = parse(ReasonInput, request).reason or ""

        def effect() -> dict[str, Any]:
            teams.set_status(teams.find(team_id), status=self.status, actor=self.caller.actor, reason=reason)
            return {"team_id": team_id}

        return respond(self, request, effect=effect, render=self._answer)

    post = put

    def _answer(self, ids: dict[str, Any], secret: str | None) -> dict[str, Any]:
        team_id = ids["team_id"]
        return {"team_id": team_id, "status": self.status, "message": f"Team '{team_id}' has been {self.done}"}


class SuspendTeam(_SetTeamStatus):
    """/api/teams/{team_id}/suspend: no new jobs or calls; what is open can be completed and read."""

    status, done = Team.Status.SUSPENDED, "suspended"


class ResumeTeam(_SetTeamStatus):
    """/api/teams/{team_id}/resume"""

    status, done = Team.Status.ACTIVE, "resumed"


class PauseTeam(_SetTeamStatus):
    """/api/teams/{team_id}/pause: like suspend, by another name for people."""

    status, done = Team.Status.PAUSED, "paused"
