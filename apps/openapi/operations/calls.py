"""LLM calls in jobs, whole and streamed."""

from apps.api.calls import CreateAndCallInput, LlmCallInput
from apps.jobs.models import Call
from apps.openapi import parameters
from apps.openapi.answers.calls import CallAnswer, CreateAndCallAnswer, EmbeddingsCall, FailedCall, OpenCall
from apps.openapi.answers.jobs import AllCalls
from apps.openapi.operation import EVENTS, Operation
from apps.openapi.paths import PREFER
from apps.openapi.responses import CALL_HEADERS

TAG = "Calls"

# How a call may fail: credits, limits, budgets; the provider; the wait.
CALL_ERRORS = (409, 429, 500)

OPERATIONS = {
    "GET /api/calls": Operation(
        "List calls",
        answer=AllCalls,
        query=(
            *parameters.OWNERS,
            parameters.text("job_id", "Only calls in this job."),
            parameters.choice("status", "Only calls in this state.", Call.State.values),
            parameters.text("model", "Only calls of this model."),
            parameters.text("provider", "Only calls that this provider answered."),
            parameters.text("error_code", "Only calls that failed with this code.", example="provider_error"),
            *parameters.SPAN,
            *parameters.long_page("latency_ms", "cost_usd"),
        ),
        errors=(400, 404),
    ),
    "POST /api/jobs/create-and-call": Operation(
        "Open a job, make one call and close the job",
        answer=CreateAndCallAnswer,
        body=CreateAndCallInput,
        headers=CALL_HEADERS,
        idempotent=True,
        errors=CALL_ERRORS,
        reads=(PREFER,),
    ),
    "POST /api/jobs/create-and-call-stream": Operation(
        "Open a job, stream one call and close the job",
        body=CreateAndCallInput,
        headers=CALL_HEADERS,
        idempotent=True,
        also=(EVENTS,),
        errors=CALL_ERRORS,
    ),
    "POST /api/jobs/{job_id}/llm-call": Operation(
        "Make a call in a job",
        answer=CallAnswer,
        body=LlmCallInput,
        headers=CALL_HEADERS,
        idempotent=True,
        errors=CALL_ERRORS,
        reads=(PREFER,),
    ),
    "POST /api/jobs/{job_id}/llm-call-stream": Operation(
        "Stream a call in a job",
        body=LlmCallInput,
        headers=CALL_HEADERS,
        idempotent=True,
        errors=CALL_ERRORS,
        also=(EVENTS,),
    ),
    "GET /api/jobs/{job_id}/calls/{call_id}": Operation(
        "Show a call, with its answer when it has one",
        answer=CallAnswer | EmbeddingsCall | OpenCall | FailedCall,
        headers=("Retry-After", *CALL_HEADERS),
    ),
}
