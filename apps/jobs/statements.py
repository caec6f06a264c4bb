"""The statements of the call path, compiled once (`core.prepared`). Nothing is decided here."""

from datetime import timedelta

from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F, Q, QuerySet, Subquery
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from apps.core import clock
from apps.core.prepared import Insert, Param, Select, Together, Update, attributes, columns, param
from apps.jobs.models import Attempt, Call, CallPayload, Job
from apps.teams.models import Team


def _in(name: str) -> Combinable:
    """The database's clock plus the parameter, a duration (which may be negative)."""
    return ExpressionWrapper(Now() + Param(name, DurationField()), output_field=DateTimeField())


# --- Opening -----------------------------------------------------------------------------------------------

TEAM_NOW: Select[Team] = Select(
    lambda: (
        Team.objects.select_related("organization")
        .filter(pk=param("id", Team))
        .only("id", "team_id", "status", "organization__organization_id", "organization__status")
    )
)

_JOB_COLUMNS = (
    "id",
    "organization",
    "team",
    "key_id",
    "job_type",
    "user_id",
    "status",
    "paused_reason",
    "metadata",
    "pending_metadata_bytes",
    "error_message",
    "model_groups_used",
    "terms",
    "held_micros",
    "charge_state",
    "charged_micros",
    "uncollected_micros",
    "total_calls",
    "open_calls",
    "successful_calls",
    "failed_calls",
    "prompt_tokens",
    "completion_tokens",
    "provider_cost_nanousd",
    "lost_cost_nanousd",
    "open_bound_nanousd",
    "open_bound_tokens",
    "latency_total_ms",
    "completed_at",
    "closed_by",
)
_INSERT_JOB = Insert(Job, lambda: columns(Job, *_JOB_COLUMNS))


def insert_job(job: Job) -> None:
    """Insert a new job. Its instants are the database's; `created_at` is this process's guess until it is read."""
    _INSERT_JOB.run(**attributes(job, _JOB_COLUMNS))
    job.created_at = clock.now()


# --- Admission ---------------------------------------------------------------------------------------------

LOCKED_TEAM_JOB: Select[Job] = Select(
    lambda: (
        Job.objects.select_for_update(of=("self",))
        .select_related("team__organization")
        .filter(pk=param("id", Job), team=param("team", Job))
    )
)


def _unanswered() -> QuerySet[Call]:
    """The oldest call that nobody answered of this very request, and that has not failed."""
    return Call.objects.filter(
        Q(state__in=Call.OPEN_STATES) | Q(state=Call.State.SUCCEEDED),
        team=param("team", Call),
        fingerprint=param("fingerprint", Call),
        unanswered_at__gt=_in("since"),
    ).order_by("unanswered_at")[:1]


UNANSWERED_CALL: Select[Call] = Select(lambda: _unanswered().only("id", "job_id"))

# The request's path names the job, so an unanswered twin is one of its calls: one statement finds both.
LOCKED_JOB_AND_TWIN: Select[Job] = Select(
    lambda: (
        Job.objects.select_for_update(of=("self",))
        .select_related("team__organization")
        .filter(pk=param("id", Job), team=param("team", Job))
        .annotate(unanswered_id=Subquery(_unanswered().values("id")))
    )
)

_ADMITTED = (
    "terms",
    "held_micros",
    "status",
    "started_at",
    "open_calls",
    "total_calls",
    "open_bound_nanousd",
    "open_bound_tokens",
    "pending_metadata_bytes",
    "model_groups_used",
)
_COUNT_ADMITTED = Update(
    lambda: Job.objects.filter(pk=param("id", Job)), lambda: {**columns(Job, *_ADMITTED), "active_at": Now()}
)

_CALL_COLUMNS = (
    "id",
    "job",
    "organization",
    "team",
    "state",
    "purpose",
    "completes_job",
    "model_group_used",
    "model_used",
    "route",
    "provider",
    "provider_model",
    "resolved_model",
    "input_nanousd_per_mtok",
    "output_nanousd_per_mtok",
    "max_output_tokens",
    "bound_input_tokens",
    "bound_output_tokens",
    "bound_nanousd",
    "claim",
    "claimed_by",
    "publishes",
    "reply_to",
    "fingerprint",
    "prompt_tokens",
    "completion_tokens",
    "provider_cost_nanousd",
    "is_estimated",
    "error_code",
    "error_message",
)
_INSERT_CALL = Insert(
    Call,
    lambda: {
        **columns(Call, *_CALL_COLUMNS),
        "deadline_at": _in("deadline_in"),
        "wait_until": _in("wait_in"),
        "next_publish_at": _in("publish_in"),
    },
)


_INSERT_PAYLOAD = Insert(CallPayload, lambda: columns(CallPayload, "call", "request", "response", "call_metadata"))
_ADMIT = Together(_INSERT_CALL, _INSERT_PAYLOAD, _COUNT_ADMITTED)


def admit(job: Job, call: Call, payload: CallPayload, **instants: timedelta) -> None:
    """Write a call that was admitted, what it asks, and its job's counts.

    `instants` are durations from the database's now: deadline_in, wait_in, publish_in.
    """
    _ADMIT.run(
        {**attributes(call, _CALL_COLUMNS), **instants},
        {**attributes(payload, ("call", "request", "response", "call_metadata"))},
        {"id": job.pk, **attributes(job, _ADMITTED)},
    )


# --- Execution ---------------------------------------------------------------------------------------------

CLAIMABLE_CALL: Select[Call] = Select(
    lambda: (
        Call.objects.filter(pk=param("id", Call), state=Call.State.QUEUED)
        .select_related("payload", "team")
        .annotate(asked_at=Now())
    )
)

_CLAIM_CALL = Update(
    lambda: Call.objects.filter(
        pk=param("id", Call), state=Call.State.QUEUED, claim=param("claim", Call), deadline_at__gt=Now()
    ),
    lambda: {
        "state": Call.State.RUNNING,
        "claim": F("claim") + 1,
        "claimed_by": param("claimed_by", Call),
        "lease_until": _in("lease"),
        "started_at": Now(),
    },
)

_ATTEMPT_COLUMNS = (
    "id",
    "call",
    "claim",
    "state",
    "route",
    "provider_model",
    "worker",
    "prompt_tokens",
    "completion_tokens",
    "cost_nanousd",
    "is_estimated",
    "raw_usage",
    "error_code",
)
_INSERT_ATTEMPT = Insert(Attempt, lambda: columns(Attempt, *_ATTEMPT_COLUMNS))
_CLAIM = Together(_INSERT_ATTEMPT, _CLAIM_CALL)


def claim(call: Call, attempt: Attempt, *, lease: timedelta) -> bool:
    """Take a queued call, by a guard on its claim number, and write the attempt. When False the attempt was written
    all the same: the caller rolls back."""
    columns = attributes(attempt, _ATTEMPT_COLUMNS)
    return (
        _CLAIM.run(columns, {"id": call.pk, "claim": call.claim, "claimed_by": attempt.worker, "lease": lease}) == 1
    )


# --- The end of a call -------------------------------------------------------------------------------------

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
            "payload__call_metadata",
        )
    )
)

_OUTCOME = (
    "state",
    "prompt_tokens",
    "completion_tokens",
    "provider_cost_nanousd",
    "is_estimated",
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
    "raw_usage",
    "latency_ms",
    "error_code",
)
_END_ATTEMPT = Update(
    lambda: Attempt.objects.filter(call=param("call", Attempt), claim=param("claim", Attempt)),
    lambda: {**columns(Attempt, *_TRIED[2:]), "ended_at": Now()},
)

_KEEP_ANSWER = Update(
    lambda: CallPayload.objects.filter(call=param("call", CallPayload)),
    lambda: {"response": param("response", CallPayload), "expires_at": _in("kept_for")},
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


# --- Reading -----------------------------------------------------------------------------------------------

TEAM_CALL: Select[Call] = Select(
    lambda: (
        Call.objects.select_related("payload", "job")
        .defer("payload__request", "payload__call_metadata")
        .filter(pk=param("id", Call), job=param("job", Call), team=param("team", Call))
    )
)

STILL_OPEN: Select[Call] = Select(
    lambda: Call.objects.filter(pk=param("id", Call), state__in=Call.OPEN_STATES).only("id")
)
