"""Who runs the platform, and the tokens that they call with."""

from apps.api.operators import ChangeOperatorInput, IssueTokenInput, NewOperatorInput
from apps.openapi import parameters
from apps.openapi.answers.people import Me, Operator, OperatorToken, OperatorTokenIssued, OperatorTokenRevoked
from apps.openapi.operation import Operation
from apps.openapi.responses import ARRAY_HEADERS

TAG = "Operators"

OPERATIONS = {
    "GET /api/me": Operation("Show who calls and what they may do", answer=Me),
    "GET /api/operators": Operation(
        "List operators",
        answer=list[Operator],
        query=(parameters.order("email", "role", "last_login_at", "created_at"), *parameters.page(100)),
        headers=ARRAY_HEADERS,
    ),
    "POST /api/operators": Operation(
        "Name an operator", answer=Operator, body=NewOperatorInput, idempotent=True, errors=(409,)
    ),
    "GET /api/operators/{user_id}": Operation("Show an operator", answer=Operator),
    "PATCH /api/operators/{user_id}": Operation(
        "Change an operator", answer=Operator, body=ChangeOperatorInput, errors=(409,)
    ),
    "GET /api/operators/{user_id}/tokens": Operation(
        "List an operator's tokens",
        answer=list[OperatorToken],
        query=(parameters.order("name", "expires_at", "created_at"), *parameters.page(100)),
        headers=ARRAY_HEADERS,
    ),
    "POST /api/operators/{user_id}/tokens": Operation(
        "Issue an operator's token", answer=OperatorTokenIssued, body=IssueTokenInput, idempotent=True
    ),
    "DELETE /api/operators/{user_id}/tokens/{token_id}": Operation(
        "Revoke an operator's token", answer=OperatorTokenRevoked
    ),
}
