"""The names that customers call models by."""

from apps.api.aliases import CreateAliasInput, CreateByLitellmModelInput, UpdateAliasInput, UpdateByLitellmModelInput
from apps.catalog.models import ModelAlias
from apps.openapi import parameters
from apps.openapi.answers.models import Alias, AliasByLitellmModel, AliasesByLitellmModel
from apps.openapi.answers.shared import Message
from apps.openapi.operation import Operation
from apps.openapi.responses import ARRAY_HEADERS

TAG = "Model aliases"
ALIAS = (
    parameters.choice("status", "Only those of this status.", ModelAlias.Status.values),
    parameters.text("provider", "Only those of this provider."),
    parameters.text("access_group", "Only those of this access group."),
    parameters.SEARCH,
    parameters.order("model_alias", "provider", "status", "created_at"),
)

OPERATIONS = {
    "GET /api/models": Operation(
        "List model aliases", answer=list[Alias], query=(*ALIAS, *parameters.page(100)), headers=ARRAY_HEADERS
    ),
    "POST /api/models/create": Operation(
        "Create a model alias",
        answer=Alias,
        body=CreateAliasInput,
        idempotent=True,
        errors=(400, 404),
    ),
    "GET /api/models/{alias}": Operation("Show a model alias", answer=Alias),
    "PUT /api/models/{alias}": Operation("Change a model alias", answer=Alias, body=UpdateAliasInput, errors=(400,)),
    "DELETE /api/models/{alias}": Operation("Delete a model alias", answer=Message, errors=(400,)),
    "GET /api/model-aliases": Operation(
        "List model aliases by LiteLLM's names", answer=AliasesByLitellmModel, query=(*ALIAS, *parameters.page(100))
    ),
    "POST /api/model-aliases/create": Operation(
        "Create a model alias by LiteLLM's names",
        answer=AliasByLitellmModel,
        body=CreateByLitellmModelInput,
        idempotent=True,
        errors=(404,),
    ),
    "GET /api/model-aliases/{alias}": Operation("Show a model alias by LiteLLM's names", answer=AliasByLitellmModel),
    "PUT /api/model-aliases/{alias}": Operation(
        "Change a model alias by LiteLLM's names", answer=AliasByLitellmModel, body=UpdateByLitellmModelInput
    ),
    "DELETE /api/model-aliases/{alias}": Operation("Delete a model alias", answer=Message, errors=(400,)),
}
