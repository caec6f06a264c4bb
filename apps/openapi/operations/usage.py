"""What jobs used and cost in a period."""

from apps.api.usage import GROUPS
from apps.openapi import parameters
from apps.openapi.answers.usage import OrganizationCosts, OrganizationUsage, TeamUsage
from apps.openapi.operation import Operation

TAG = "Usage"

OPERATIONS = {
    "GET /api/organizations/{organization_id}/usage": Operation(
        "Show an organization's usage in a period", answer=OrganizationUsage, query=(parameters.PERIOD,)
    ),
    "GET /api/organizations/{organization_id}/costs": Operation(
        "Show what an organization's jobs cost", answer=OrganizationCosts, query=(*parameters.DATES,), errors=(400,)
    ),
    "GET /api/teams/{team_id}/usage": Operation(
        "Show a team's usage in a period",
        answer=TeamUsage,
        query=(
            parameters.PERIOD,
            parameters.choice("group_by", "What to break the usage down by once more.", GROUPS),
            *parameters.page(100),
        ),
    ),
}
