"""The statements of the call path, compiled once (`core.prepared`). Nothing is decided here."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import (
    BigIntegerField,
    BooleanField,
    DateTimeField,
    DurationField,
    ExpressionWrapper,
    F,
    Func,
    Q,
    QuerySet,
    Subquery,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from apps.core.db import is_postgresql
from apps.core.prepared import Insert, Param, Rows, Select, Together, Update, any_of, attributes, columns, param
from apps.jobs.models import Attempt, Call, CallPayload, Job
from apps.teams.models import Team


def _in(name: str) -> Combinable:
    """The database's clock plus the parameter, a duration (which may be negative)."""
    return ExpressionWrapper(Now() + Param(name, DurationField()), output_field=DateTimeField())


# --- Opening -----------------------------------------------------------------------------------------------


def _team_now() -> QuerySet[Team]:
    return (
        Team.objects.select_related("organization")
        .filter(pk=param("id", Team))
        .only("id", "team_id", "status", "organization__organization_id", "organization__status")
    )


TEAM_NOW: Select[Team] = Select(_team_now)

# With a lock until the transaction ends, which costs no round trip of its own: shared, so that those who admit the
# same request do not wait for each other, and only tried, so that they wait for nobody. PostgreSQL's alone.
_TEAM_NOW_LOCKED: Select[Team] = Select(
    lambda: _team_now().annotate(
        is_locked=Func(
            Param("lock", BigIntegerField()),
            function="pg_try_advisory_xact_lock_shared",
            output_field=BooleanField(),
        )
    )
)


def team_now_admitting(team_pk: int, fingerprint: str) -> Team | None:
    """The team as it is now, for a transaction that admits this request into a job of its own."""
    if is_postgresql():
        return _TEAM_NOW_LOCKED.first(id=team_pk, lock=_lock_of(fingerprint))
    return TEAM_NOW.first(id=team_pk)


def await_admissions(fingerprint: str) -> None:
    """Wait for transactions that admit this request just now, until the caller's own ends. On SQLite every
    transaction waits for the others."""
    if is_postgresql():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_lock_of(fingerprint)])


def _lock_of(fingerprint: str) -> int:
    digest = hashlib.blake2b(fingerprint.encode(), digest_size=8, person=b"admission").digest()
    return int.from_bytes(digest, signed=True)


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
    "max_micros",
    "reserves_ceiling",
    "on_cap",
    "deadline_at",
    "total_calls",
    "open_calls",
    "successful_calls",
    "failed_calls",
    "prompt_tokens",
    "completion_tokens",
    "provider_cost_nanousd",
    "lost_cost_nanousd",
    "unpriced_calls",
    "open_bound_nanousd",
    "open_bound_tokens",
    "latency_total_ms",
    "completed_at",
    "closed_by",
)
_INSERT_JOB = Insert(Job, lambda: columns(Job, *_JOB_COLUMNS), returning="created_at")


def insert_job(job: Job) -> None:
    """Insert a new job. Its instants are the database's."""
    job.created_at = _INSERT_JOB.run_returning(**attributes(job, _JOB_COLUMNS))


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
    "kind",
    "is_streamed",
    "validates",
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
    "price_id",
    "price_source",
    "candidates",
    "max_output_tokens",
    "bound_input_tokens",
    "bound_output_tokens",
    "bound_nanousd",
    "taken",
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


# The same for many calls at once, on PostgreSQL: into jobs that exist and that nobody else has locked just now.
LOCKED_JOBS_AND_TEAMS: Select[Job] = Select(
    lambda: (
        Job.objects.select_for_update(of=("self",), skip_locked=True)
        .select_related("team__organization")
        .filter(any_of("pk", "ids"))
        .order_by("pk")
    )
)
UNANSWERED_FINGERPRINTS: Select[Call] = Select(
    lambda: Call.objects.filter(
        any_of("team", "teams"), any_of("fingerprint", "fingerprints"), unanswered_at__gt=_in("since")
    ).only("id", "fingerprint")
)
_ADMIT_MANY = Rows(
    Call,
    _CALL_COLUMNS,
    """
    WITH given AS ({rows}),
    calls AS (
        INSERT INTO jobs_call ({columns}, deadline_at, wait_until, next_publish_at)
        SELECT {columns}, CURRENT_TIMESTAMP + %s, CURRENT_TIMESTAMP + make_interval(secs => given.wait_s),
            CURRENT_TIMESTAMP + %s
        FROM given
    )
    INSERT INTO jobs_callpayload (call_id, request, response, call_metadata)
    SELECT id, request, '', call_metadata FROM given
    """,
    more={"request": "text", "call_metadata": "text", "wait_s": "double precision"},
)
_COUNT_ADMITTED_MANY = Rows(
    Job,
    ("id", *_ADMITTED),
    """
    WITH given AS ({rows})
    UPDATE jobs_job SET {assignments}, active_at = CURRENT_TIMESTAMP FROM given WHERE jobs_job.id = given.id
    """,
    keys=("id",),
)


def admit_many(
    jobs: Iterable[Job], admitted: Iterable[tuple[Call, CallPayload, float]], *, deadline_in: timedelta,
    publish_in: timedelta,
) -> None:  # fmt: skip
    """`admit` for several calls, each with the seconds that it may wait to be taken, and their locked jobs."""
    admitted = list(admitted)
    if len(admitted) == 1:
        # One alone is cheaper by its own statement.
        ((call, payload, wait_s),) = admitted
        admit(
            call.job,
            call,
            payload,
            deadline_in=deadline_in,
            wait_in=timedelta(seconds=wait_s),
            publish_in=publish_in,
        )
        return
    _ADMIT_MANY.run(
        [
            {
                **attributes(call, _CALL_COLUMNS),
                "request": payload.request,
                "call_metadata": payload.call_metadata,
                "wait_s": wait_s,
            }
            for call, payload, wait_s in admitted
        ],
        deadline_in,
        publish_in,
    )
    _COUNT_ADMITTED_MANY.run([{"id": job.pk, **attributes(job, _ADMITTED)} for job in jobs])


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


# The same for many calls at once, on PostgreSQL. Only calls that nobody claimed before: what an earlier claim may
# have cost is counted on the job, which one call at a time does. A call that is locked is another's to make.
_CLAIM_MANY = Rows(
    Attempt,
    ("call", "id"),
    """
    WITH given AS ({rows}),
    free AS (
        SELECT jobs_call.id FROM jobs_call JOIN given ON given.call_id = jobs_call.id
        WHERE state = 'queued' AND claim = 0 AND deadline_at > CURRENT_TIMESTAMP
        ORDER BY jobs_call.id FOR UPDATE OF jobs_call SKIP LOCKED
    ),
    ours AS (
        UPDATE jobs_call SET state = 'running', claim = 1, claimed_by = %s, started_at = CURRENT_TIMESTAMP,
            lease_until = CURRENT_TIMESTAMP + %s
        FROM free WHERE jobs_call.id = free.id
        RETURNING jobs_call.id, route, provider_model
    )
    INSERT INTO jobs_attempt (id, call_id, claim, state, route, provider_model, worker, prompt_tokens,
        completion_tokens, cost_nanousd, is_estimated, raw_usage, error_code)
    SELECT given.id, ours.id, 1, 'running', route, provider_model, %s, 0, 0, 0, false, '', ''
    FROM ours JOIN given ON given.call_id = ours.id
    RETURNING call_id
    """,
)
CLAIMED_CALLS: Select[Call] = Select(
    lambda: (
        Call.objects.filter(any_of("pk", "ids"))
        .select_related("payload", "team")
        .annotate(asked_at=Now())
        .defer("created_at", "started_at", "ended_at", "wait_until", "next_publish_at", "unanswered_at")
    )
)


def claim_many(attempts: Sequence[Attempt], *, lease: timedelta) -> list[Any]:
    """Take those of these calls that are queued and were never claimed, and write their attempts. Their ids."""
    worker = attempts[0].worker
    rows = _CLAIM_MANY.run([{"call": row.call_id, "id": row.pk} for row in attempts], worker, lease, worker)
    return [row[0] for row in rows]


# How much of a stream was sent on so far, and which callers want no more of theirs.
_MARK = Update(
    lambda: Attempt.objects.filter(
        call=param("call", Attempt), claim=param("claim", Attempt), state=Attempt.State.RUNNING
    ),
    lambda: columns(Attempt, "delivered_bytes"),
)
_MARK_MANY = Rows(
    Attempt,
    ("call", "claim", "delivered_bytes"),
    """
    WITH rows AS ({rows}),
    given AS (
        SELECT jobs_attempt.id, rows.call_id, rows.claim, rows.delivered_bytes
        FROM jobs_attempt JOIN rows ON jobs_attempt.call_id = rows.call_id AND jobs_attempt.claim = rows.claim
        WHERE jobs_attempt.state = 'running'
        ORDER BY jobs_attempt.id FOR UPDATE OF jobs_attempt SKIP LOCKED
    )
    UPDATE jobs_attempt SET {assignments} FROM given WHERE jobs_attempt.id = given.id
    RETURNING given.call_id, given.claim
    """,
    keys=("call", "claim"),
)


def mark(marks: Sequence[dict[str, Any]]) -> set[tuple[Any, int]]:
    """Save how much was sent on: call, claim and delivered_bytes of each. Calls and claims of those saved.

    Of several, what is locked just now is left out: most likely its stream ends, and a group that ends locks its
    tries in whatever order.
    """
    if len(marks) > 1 and is_postgresql():
        return {(row[0], row[1]) for row in _MARK_MANY.run(marks)}
    return {(one["call"], one["claim"]) for one in marks if _MARK.run(**one)}


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


# --- Reading -----------------------------------------------------------------------------------------------

TEAM_CALL: Select[Call] = Select(
    lambda: (
        Call.objects.select_related("payload", "job")
        .defer("payload__request", "payload__call_metadata")
        .filter(pk=param("id", Call), job=param("job", Call), team=param("team", Call))
    )
)

_SHOWN_OF_CALL = (
    "id",
    "job_id",
    "team_id",
    "kind",
    "state",
    "model_group_used",
    "prompt_tokens",
    "completion_tokens",
    "latency_ms",
    "error_code",
    "error_status",
    "error_message",
    "retry_after_s",
    "created_at",
    "payload__response",
)
# For many callers at once, on PostgreSQL; whose each call is, is compared afterwards.
ANSWERS: Select[Call] = Select(
    lambda: Call.objects.filter(any_of("pk", "ids")).select_related("payload").only(*_SHOWN_OF_CALL)
)
ANSWERS_WITH_JOBS: Select[Call] = Select(
    lambda: (
        Call.objects.filter(any_of("pk", "ids"))
        .select_related("payload", "job")
        .defer("payload__request", "payload__call_metadata")
    )
)

_KEPT_OF_STREAMED = ("id", "job_id", "team_id", "model_group_used", "created_at", "wait_until")
STREAMED: Select[Call] = Select(lambda: Call.objects.filter(pk=param("id", Call)).only(*_KEPT_OF_STREAMED))
STREAMED_MANY: Select[Call] = Select(lambda: Call.objects.filter(any_of("pk", "ids")).only(*_KEPT_OF_STREAMED))

CALLS_OF_JOB: Select[Call] = Select(
    lambda: (
        Call.objects.filter(job=param("job", Call))
        .order_by("created_at", "id")
        .only(
            "id",
            "state",
            "purpose",
            "model_group_used",
            "prompt_tokens",
            "completion_tokens",
            "provider_cost_nanousd",
            "latency_ms",
            "error_message",
            "created_at",
        )
    )
)

STILL_OPEN: Select[Call] = Select(
    lambda: Call.objects.filter(pk=param("id", Call), state__in=Call.OPEN_STATES).only("id")
)
