"""The end of a call, and what its job then is."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from apps.core.prepared import Rows, Select, Together, Update, any_of, attributes, columns, param
from apps.jobs.models import Attempt, Call, CallPayload, Job
from apps.jobs.statements.instants import from_now

LOCKED_JOB: Select[Job] = Select(
    lambda: Job.objects.select_for_update(of=("self",)).select_related("team").filter(pk=param("id", Job))
)

OPEN_CALL: Select[Call] = Select(
    lambda: (
        Call.objects.filter(pk=param("id", Call), job=param("job", Call), state__in=Call.OPEN_STATES)
        .select_related("payload")
        .only(
            "id",
            "claim",
            "completes_job",
            "bound_nanousd",
            "bound_input_tokens",
            "bound_output_tokens",
            "price_source",
            "taken",
            "payload__call_metadata",
        )
    )
)

_OUTCOME = (
    "state",
    "prompt_tokens",
    "completion_tokens",
    "usage_classes",
    "provider_cost_nanousd",
    "price_source",
    "is_estimated",
    "usage_mismatch",
    "latency_ms",
    "resolved_model",
    "error_code",
    "error_status",
    "error_message",
    "retry_after_s",
)
END_CALL = Update(
    lambda: Call.objects.filter(pk=param("id", Call), state__in=Call.OPEN_STATES, claim=param("claim", Call)),
    lambda: {**columns(Call, *_OUTCOME), "ended_at": Now(), "lease_until": None},
)

_TRIED = (
    "call",
    "claim",
    "state",
    "prompt_tokens",
    "completion_tokens",
    "cost_nanousd",
    "is_estimated",
    "usage_mismatch",
    "raw_usage",
    "latency_ms",
    "error_code",
)
# Of a claim's tries the one that still runs: those of other models before it have ended.
_END_ATTEMPT = Update(
    lambda: Attempt.objects.filter(
        call=param("call", Attempt), claim=param("claim", Attempt), state=Attempt.State.RUNNING
    ),
    lambda: {**columns(Attempt, *_TRIED[2:]), "ended_at": Now()},
)

_KEEP_ANSWER = Update(
    lambda: CallPayload.objects.filter(call=param("call", CallPayload)),
    lambda: {"response": param("response", CallPayload), "expires_at": from_now("kept_for")},
)

_COUNTED = (
    "status",
    "paused_reason",
    "metadata",
    "pending_metadata_bytes",
    "error_message",
    "held_micros",
    "charge_state",
    "charged_micros",
    "uncollected_micros",
    "open_calls",
    "successful_calls",
    "failed_calls",
    "prompt_tokens",
    "completion_tokens",
    "provider_cost_nanousd",
    "lost_cost_nanousd",
    "unpriced_calls",
    "lost_tries",
    "billed_lost_nanousd",
    "open_bound_nanousd",
    "open_bound_tokens",
    "latency_total_ms",
    "completed_at",
    "closed_by",
)
_SAVE_JOB = Update(
    lambda: Job.objects.filter(pk=param("id", Job)), lambda: {**columns(Job, *_COUNTED), "active_at": Now()}
)

_END = Together(_END_ATTEMPT, _KEEP_ANSWER, _SAVE_JOB)


# Without those that somebody else has locked just now.
LOCKED_JOBS: Select[Job] = Select(
    lambda: (
        Job.objects.select_for_update(of=("self",), skip_locked=True)
        .select_related("team")
        .filter(any_of("pk", "ids"))
        .order_by("pk")
    )
)

# The ends of many calls at once, on PostgreSQL; their jobs are locked, and are written apart.
_END_MANY = Rows(
    Call,
    ("id", "claim", *_OUTCOME),
    """
    WITH given AS ({rows}),
    ended AS (
        UPDATE jobs_call SET {assignments}, ended_at = CURRENT_TIMESTAMP, lease_until = NULL
        FROM given
        WHERE jobs_call.id = given.id AND jobs_call.claim = given.claim AND jobs_call.state IN ('queued', 'running')
        RETURNING jobs_call.id, jobs_call.claim
    ),
    tried AS (
        UPDATE jobs_attempt SET state = given.attempt_state, prompt_tokens = given.prompt_tokens,
            completion_tokens = given.completion_tokens, cost_nanousd = given.cost_nanousd,
            is_estimated = given.is_estimated, usage_mismatch = given.usage_mismatch, raw_usage = given.raw_usage,
            latency_ms = given.latency_ms, error_code = given.error_code, ended_at = CURRENT_TIMESTAMP
        FROM given JOIN ended USING (id, claim)
        WHERE jobs_attempt.call_id = given.id AND jobs_attempt.claim = given.claim AND jobs_attempt.state = 'running'
    ),
    kept AS (
        UPDATE jobs_callpayload SET response = given.response, expires_at = CURRENT_TIMESTAMP + %s
        FROM given JOIN ended USING (id, claim) WHERE jobs_callpayload.call_id = given.id
    )
    SELECT id, claim FROM ended
    """,
    keys=("id", "claim"),
    more={"attempt_state": "text", "cost_nanousd": "bigint", "raw_usage": "text", "response": "text"},
)
_SAVE_JOBS = Rows(
    Job,
    ("id", *_COUNTED),
    """
    WITH given AS ({rows})
    UPDATE jobs_job SET {assignments}, active_at = CURRENT_TIMESTAMP FROM given WHERE jobs_job.id = given.id
    """,
    keys=("id",),
)


def end_many(ends: Sequence[dict[str, Any]], *, kept_for: timedelta) -> set[tuple[Any, int]]:
    """Write the ends of calls of locked jobs, each while its claim is the newest. Ids and claims of those ended.

    Two claims of one call may be among them: its worker was taken for dead, and took it up again itself.
    """
    return {(row[0], row[1]) for row in _END_MANY.run(ends, kept_for)}


def save_jobs(jobs: Sequence[Job]) -> None:
    """Save the counts of locked jobs."""
    _SAVE_JOBS.run([{"id": job.pk, **attributes(job, _COUNTED)} for job in jobs])


def end(job: Job, attempt: Attempt, payload: CallPayload, *, kept_for: timedelta) -> None:
    """Write what a call's end means for its newest try, its answer and its job."""
    _END.run(
        attributes(attempt, _TRIED),
        {"call": payload.pk, "response": payload.response, "kept_for": kept_for},
        {"id": job.pk, **attributes(job, _COUNTED)},
    )


def save_job(job: Job) -> None:
    """Write what a call's end or a close may have changed of a locked job."""
    _SAVE_JOB.run(id=job.pk, **attributes(job, _COUNTED))
