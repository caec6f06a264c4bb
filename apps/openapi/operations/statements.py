"""Monthly statements, as JSON and CSV, and the months that are closed."""

from apps.api.periods import ClosePeriodInput
from apps.openapi import parameters
from apps.openapi.answers.statements import OrganizationStatement, Period, Periods, TeamStatement
from apps.openapi.operation import CSV, Operation

TAG = "Statements"

OPERATIONS = {
    "GET /api/organizations/{organization_id}/statements/{period}": Operation(
        "Show an organization's monthly statement",
        answer=OrganizationStatement,
        query=(parameters.FORMAT, *parameters.page(100)),
        also=(CSV,),
    ),
    "GET /api/teams/{team_id}/statements/{period}": Operation(
        "Show a team's monthly statement",
        answer=TeamStatement,
        query=(parameters.FORMAT, *parameters.page(100)),
        also=(CSV,),
    ),
    "GET /api/periods": Operation(
        "List closed months",
        answer=Periods,
        query=(
            parameters.order("period", "closed_at"),
            *parameters.page(24),
        ),
    ),
    "POST /api/periods/close": Operation(
        "Close a month", answer=Period, body=ClosePeriodInput, idempotent=True, errors=(409,)
    ),
}
