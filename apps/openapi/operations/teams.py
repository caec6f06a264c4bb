"""Teams of organizations, with their models and prices."""

from apps.api.fields import Names, ReasonInput
from apps.api.pricing import BudgetModeInput, MarkupInput, RatesInput
from apps.api.teams import CreateTeamInput, UpdateTeamInput
from apps.openapi import parameters
from apps.openapi.answers.teams import (
    ConversionRates,
    ConversionRatesChanged,
    KeyVerified,
    Team,
    TeamAccessGroups,
    TeamBudgetMode,
    TeamCreated,
    TeamMarkup,
    TeamModelGroups,
    TeamShown,
    TeamStatusChanged,
    TeamUpdated,
)
from apps.openapi.bodies import AccessGroups, ModelGroups
from apps.openapi.operation import OPERATORS, Operation
from apps.openapi.responses import ARRAY_HEADERS
from apps.teams.models import Team as TeamModel

TAG = "Teams"
# How lists of teams are narrowed and ordered, also an organization's.
TEAMS = (
    parameters.choice(
        "status", "Only those of this status; all but closed ones without it.", TeamModel.Status.values
    ),
    parameters.SEARCH,
    parameters.flag("low", "Only those with a fifth of their credits left, or less."),
    parameters.order("team_id", "status", "created_at", "credits"),
    *parameters.page(100),
)

OPERATIONS = {
    "GET /api/teams": Operation(
        "List teams",
        answer=list[Team],
        query=(parameters.ORGANIZATION_ID, *TEAMS),
        errors=(404,),
        headers=ARRAY_HEADERS,
    ),
    "POST /api/teams/create": Operation(
        "Create a team with its first key",
        answer=TeamCreated,
        body=CreateTeamInput,
        idempotent=True,
        errors=(400, 404),
    ),
    "GET /api/teams/verify": Operation("Tell whose key this is", answer=KeyVerified),
    "GET /api/teams/{team_id}": Operation("Show a team", answer=TeamShown),
    "PUT /api/teams/{team_id}": Operation(
        "Change a team", answer=TeamUpdated, body=UpdateTeamInput, errors=(400,), security=OPERATORS
    ),
    "PUT /api/teams/{team_id}/access-groups": Operation(
        "Replace a team's access groups", answer=TeamAccessGroups, body=AccessGroups, bare=Names
    ),
    "PUT /api/teams/{team_id}/model-groups": Operation(
        "Replace a team's model groups", answer=TeamModelGroups, body=ModelGroups, bare=Names
    ),
    "PATCH /api/teams/{team_id}/markup": Operation("Change a team's markup", answer=TeamMarkup, body=MarkupInput),
    "POST /api/teams/{team_id}/suspend": Operation(
        "Suspend a team", answer=TeamStatusChanged, body=ReasonInput, idempotent=True
    ),
    "PUT /api/teams/{team_id}/suspend": Operation(
        "Suspend a team", answer=TeamStatusChanged, body=ReasonInput, idempotent=True
    ),
    "POST /api/teams/{team_id}/resume": Operation(
        "Resume a team", answer=TeamStatusChanged, body=ReasonInput, idempotent=True, errors=(400,)
    ),
    "PUT /api/teams/{team_id}/resume": Operation(
        "Resume a team", answer=TeamStatusChanged, body=ReasonInput, idempotent=True
    ),
    "POST /api/teams/{team_id}/pause": Operation(
        "Pause a team", answer=TeamStatusChanged, body=ReasonInput, idempotent=True
    ),
    "PUT /api/teams/{team_id}/pause": Operation(
        "Pause a team", answer=TeamStatusChanged, body=ReasonInput, idempotent=True
    ),
    "PATCH /api/credits/teams/{team_id}/budget-mode": Operation(
        "Change how a team's jobs are priced", answer=TeamBudgetMode, body=BudgetModeInput, errors=(400,)
    ),
    "GET /api/credits/teams/{team_id}/conversion-rates": Operation(
        "Show what a credit is worth to a team", answer=ConversionRates
    ),
    "PATCH /api/credits/teams/{team_id}/conversion-rates": Operation(
        "Change what a credit is worth to a team", answer=ConversionRatesChanged, body=RatesInput, errors=(400,)
    ),
}
