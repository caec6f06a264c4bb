"""Recurring allowances, and grants that are dated ahead."""

from apps.api.allowances import AutoRefillInput, ScheduledGrantInput
from apps.openapi import parameters
from apps.openapi.answers.allowances import AutoRefill, ScheduledGrant, ScheduledGrants
from apps.openapi.operation import OPERATORS, Operation

TAG = "Credits to come"

OPERATIONS = {
    "POST /api/credits/teams/{team_id}/configure-auto-refill": Operation(
        "Set a team's recurring allowance", answer=AutoRefill, body=AutoRefillInput, idempotent=True, errors=(400,)
    ),
    "GET /api/credits/teams/{team_id}/scheduled-grants": Operation(
        "List a team's scheduled grants",
        answer=ScheduledGrants,
        query=(
            parameters.order("effective_at", "created_at"),
            *parameters.page(50),
        ),
    ),
    "POST /api/credits/teams/{team_id}/scheduled-grants": Operation(
        "Schedule a grant", answer=ScheduledGrant, body=ScheduledGrantInput, idempotent=True, security=OPERATORS
    ),
    "DELETE /api/credits/teams/{team_id}/scheduled-grants/{grant_id}": Operation(
        "Drop a scheduled grant", answer=ScheduledGrant
    ),
}
