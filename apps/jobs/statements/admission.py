"""Opening a job and admitting calls into it."""

import hashlib
from collections.abc import Iterable
from datetime import timedelta

from django.db import connection
from django.db.models import (
    BigIntegerField,
    BooleanField,
    Func,
    Q,
    QuerySet,
    Subquery,
)
from django.db.models.functions import Now

from apps.core.db import is_postgresql
from apps.core.prepared import Insert, Param, Rows, Select, Together, Update, any_of, attributes, columns, param
from apps.jobs.models import Call, CallPayload, Job
from apps.jobs.statements.instants import from_now
from apps.teams.models import Team


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
        unanswered_at__gt=from_now("since"),
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
        "deadline_at": from_now("deadline_in"),
        "wait_until": from_now("wait_in"),
        "next_publish_at": from_now("publish_in"),
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
        any_of("team", "teams"), any_of("fingerprint", "fingerprints"), unanswered_at__gt=from_now("since")
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
