"""Models that are tried one after the other under one name."""

from apps.api.access_groups import UpdateGroupInput
from apps.api.model_groups import CreateModelGroupInput, Models, ModelsInput
from apps.catalog.models import GroupStatus
from apps.openapi import parameters
from apps.openapi.answers.model_groups import ModelGroup, ModelGroupModels, Resolution
from apps.openapi.answers.shared import Message
from apps.openapi.operation import Operation
from apps.openapi.responses import ARRAY_HEADERS

TAG = "Model groups"

OPERATIONS = {
    "GET /api/model-groups": Operation(
        "List model groups",
        answer=list[ModelGroup],
        query=(
            parameters.SEARCH,
            parameters.order("group_name", "status", "created_at"),
            parameters.choice("status", "Only those of this status.", GroupStatus.values),
            *parameters.page(100),
        ),
        headers=ARRAY_HEADERS,
    ),
    "POST /api/model-groups/create": Operation(
        "Create a model group", answer=ModelGroup, body=CreateModelGroupInput, idempotent=True, errors=(400,)
    ),
    "GET /api/model-groups/{group}": Operation("Show a model group", answer=ModelGroup),
    "PUT /api/model-groups/{group}": Operation("Change a model group", answer=ModelGroup, body=UpdateGroupInput),
    "DELETE /api/model-groups/{group}": Operation("Delete a model group", answer=Message, errors=(400,)),
    "PUT /api/model-groups/{group}/models": Operation(
        "Replace a model group's models", answer=ModelGroupModels, body=ModelsInput, bare=Models, errors=(422,)
    ),
    "GET /api/model-groups/{group}/resolve": Operation(
        "Show which model would answer a team",
        answer=Resolution,
        query=(parameters.text("team_id", "The team that would call.", required=True),),
    ),
}
