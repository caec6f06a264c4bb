"""Business operations: opened, filled with calls, closed and charged once."""

from apps.api.budgets import ChangeBudgetInput
from apps.api.jobs import CancelInput, CompleteInput, MetadataInput, OpenJobInput
from apps.openapi import parameters
from apps.openapi.answers.jobs import (
    AllJobs,
    JobChanged,
    JobCompleted,
    JobCosts,
    JobMetadata,
    JobOpened,
    Jobs,
    JobShown,
)
from apps.openapi.operation import KEY, Operation

TAG = "Jobs"

OPERATIONS = {
    "GET /api/jobs": Operation(
        "List jobs",
        answer=AllJobs,
        query=(
            *parameters.OWNERS,
            parameters.JOB_STATUS,
            parameters.text("job_type", "Only jobs of this type.", example="support-reply"),
            parameters.text("user_id", "Only jobs for this end user."),
            parameters.flag("charged", "Only jobs that were charged, or only the others."),
            *parameters.SPAN,
            *parameters.DATES,
            *parameters.long_page("completed_at", "credits_charged", "total_calls"),
        ),
        errors=(400, 404),
    ),
    "POST /api/jobs/create": Operation("Open a job", answer=JobOpened, body=OpenJobInput, idempotent=True),
    "GET /api/jobs/{job_id}": Operation("Show a job with its calls", answer=JobShown),
    "PATCH /api/jobs/{job_id}": Operation(
        "Change a job's budget", answer=JobChanged, body=ChangeBudgetInput, errors=(400,), security=(KEY,)
    ),
    "POST /api/jobs/{job_id}/complete": Operation(
        "Close a job and charge it", answer=JobCompleted, body=CompleteInput, idempotent=True
    ),
    "POST /api/jobs/{job_id}/cancel": Operation(
        "Cancel a job", answer=JobCompleted, body=CancelInput, idempotent=True
    ),
    "PATCH /api/jobs/{job_id}/metadata": Operation("Add to a job's metadata", answer=JobMetadata, body=MetadataInput),
    "GET /api/jobs/{job_id}/costs": Operation("Show a job's costs, call by call", answer=JobCosts),
    "GET /api/teams/{team_id}/jobs": Operation(
        "List a team's jobs",
        answer=Jobs,
        query=(
            parameters.order("created_at", "completed_at", "credits_charged"),
            parameters.JOB_STATUS,
            *parameters.page(100),
        ),
    ),
}
