"""What OpenAI's clients call: /v1."""

from apps.openai_compat.embeddings import EmbeddingParameters
from apps.openai_compat.parameters import ChatParameters, CompletionParameters
from apps.openapi.answers.openai import ChatCompletion, EmbeddingList, OpenAIModel, OpenAIModels, TextCompletion
from apps.openapi.operation import EVENTS, Operation
from apps.openapi.paths import JOB_HEADERS, PREFER
from apps.openapi.responses import OPENAI_CALL_HEADERS

TAG = "OpenAI-compatible"

CALL_ERRORS = (402, 404, 409, 429, 500)

OPERATIONS = {
    "POST /v1/chat/completions": Operation(
        "Create a chat completion",
        answer=ChatCompletion,
        body=ChatParameters,
        errors=CALL_ERRORS,
        also=(EVENTS,),
        idempotent=True,
        reads=(PREFER, *JOB_HEADERS),
        headers=OPENAI_CALL_HEADERS,
    ),
    "POST /v1/completions": Operation(
        "Create a completion",
        answer=TextCompletion,
        body=CompletionParameters,
        errors=CALL_ERRORS,
        also=(EVENTS,),
        idempotent=True,
        reads=(PREFER, *JOB_HEADERS),
        headers=OPENAI_CALL_HEADERS,
    ),
    "POST /v1/embeddings": Operation(
        "Create embeddings",
        answer=EmbeddingList,
        body=EmbeddingParameters,
        errors=CALL_ERRORS,
        idempotent=True,
        reads=(PREFER, *JOB_HEADERS),
        headers=OPENAI_CALL_HEADERS,
    ),
    "GET /v1/models": Operation("List the models that the key may use", answer=OpenAIModels),
    "GET /v1/models/{model}": Operation("Show a model", answer=OpenAIModel),
}
