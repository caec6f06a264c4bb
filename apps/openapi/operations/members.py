"""Customers' people, and their places in organizations."""

from apps.api.members import ChangeMemberInput, InviteInput
from apps.openapi import parameters
from apps.openapi.answers.people import Member
from apps.openapi.answers.shared import Message
from apps.openapi.operation import Operation
from apps.openapi.responses import ARRAY_HEADERS

TAG = "Members"

OPERATIONS = {
    "GET /api/organizations/{organization_id}/members": Operation(
        "List an organization's members",
        answer=list[Member],
        query=(parameters.order("email", "role", "created_at"), *parameters.page(100)),
        headers=ARRAY_HEADERS,
    ),
    "POST /api/organizations/{organization_id}/members": Operation(
        "Give somebody a place in an organization", answer=Member, body=InviteInput, idempotent=True, errors=(409,)
    ),
    "GET /api/organizations/{organization_id}/members/{user_id}": Operation("Show a member", answer=Member),
    "PATCH /api/organizations/{organization_id}/members/{user_id}": Operation(
        "Change a member's role", answer=Member, body=ChangeMemberInput
    ),
    "DELETE /api/organizations/{organization_id}/members/{user_id}": Operation("Remove a member", answer=Message),
}
