"""The credentials of teams."""

from apps.api.keys import IssueKeyInput, RotateKeyInput
from apps.openapi import parameters
from apps.openapi.answers.keys import VirtualKey, VirtualKeyIssued, VirtualKeyRevoked, VirtualKeyRotated
from apps.openapi.operation import Operation

TAG = "Virtual keys"

OPERATIONS = {
    "GET /api/teams/{team_id}/keys": Operation(
        "List a team's virtual keys", answer=list[VirtualKey], query=(*parameters.page(100),)
    ),
    "POST /api/teams/{team_id}/keys": Operation(
        "Issue a virtual key", answer=VirtualKeyIssued, body=IssueKeyInput, idempotent=True
    ),
    "DELETE /api/teams/{team_id}/keys/{key_id}": Operation("Revoke a virtual key", answer=VirtualKeyRevoked),
    "POST /api/teams/{team_id}/keys/{key_id}/rotate": Operation(
        "Replace a virtual key by a new one",
        answer=VirtualKeyRotated,
        body=RotateKeyInput,
        idempotent=True,
        errors=(400,),
    ),
}
