"""The credentials of teams."""

from apps.api.keys import IssueKeyInput, RotateKeyInput
from apps.openapi import parameters
from apps.openapi.answers.keys import VirtualKey, VirtualKeyIssued, VirtualKeyRevoked, VirtualKeyRotated, VirtualKeys
from apps.openapi.operation import Operation
from apps.openapi.responses import ARRAY_HEADERS
from apps.virtual_keys.services import STATES

TAG = "Virtual keys"

KEYS = (
    parameters.choice("state", "Only those in this state.", STATES),
    parameters.text("prefix", "Only those that begin with this.", example="sk-6qSXHsen"),
    parameters.instant("expires_before", "Only active ones that expire before this instant."),
    parameters.instant("unused_since", "Only those not used since this instant."),
    parameters.order("created_at", "expires_at", "last_used_at", "name"),
    *parameters.page(100),
)

OPERATIONS = {
    "GET /api/keys": Operation(
        "List all virtual keys", answer=VirtualKeys, query=(*parameters.OWNERS, *KEYS), errors=(404,)
    ),
    "GET /api/teams/{team_id}/keys": Operation(
        "List a team's virtual keys",
        answer=list[VirtualKey],
        query=(*KEYS,),
        headers=ARRAY_HEADERS,
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
