"""Aliases that teams are given together."""

from apps.api.access_groups import CreateAccessGroupInput, UpdateGroupInput
from apps.api.fields import Names
from apps.catalog.models import GroupStatus
from apps.openapi import parameters
from apps.openapi.answers.access_groups import AccessGroup
from apps.openapi.answers.shared import Message
from apps.openapi.bodies import ModelAliases
from apps.openapi.operation import Operation
from apps.openapi.responses import ARRAY_HEADERS

TAG = "Access groups"

OPERATIONS = {
    "GET /api/model-access-groups": Operation(
        "List access groups",
        answer=list[AccessGroup],
        query=(
            parameters.SEARCH,
            parameters.order("group_name", "status", "created_at"),
            parameters.choice("status", "Only those of this status.", GroupStatus.values),
            *parameters.page(100),
        ),
        headers=ARRAY_HEADERS,
    ),
    "POST /api/model-access-groups/create": Operation(
        "Create an access group", answer=AccessGroup, body=CreateAccessGroupInput, idempotent=True, errors=(400, 404)
    ),
    "GET /api/model-access-groups/{group}": Operation("Show an access group", answer=AccessGroup),
    "PUT /api/model-access-groups/{group}": Operation(
        "Change an access group", answer=AccessGroup, body=UpdateGroupInput
    ),
    "DELETE /api/model-access-groups/{group}": Operation("Delete an access group", answer=Message, errors=(400,)),
    "PUT /api/model-access-groups/{group}/models": Operation(
        "Replace an access group's aliases", answer=AccessGroup, body=ModelAliases, bare=Names
    ),
    "POST /api/model-access-groups/{group}/add-models": Operation(
        "Add aliases to an access group", answer=AccessGroup, body=ModelAliases, bare=Names, idempotent=True
    ),
    "POST /api/model-access-groups/{group}/remove-models": Operation(
        "Remove aliases from an access group", answer=AccessGroup, body=ModelAliases, bare=Names, idempotent=True
    ),
}
