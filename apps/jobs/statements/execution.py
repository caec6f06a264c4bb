"""Claiming calls, and marks of how far streams are."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db.models import (
    F,
)
from django.db.models.functions import Now

from apps.core.db import is_postgresql
from apps.core.prepared import Insert, Rows, Select, Together, Update, any_of, attributes, columns, param
from apps.jobs.models import Attempt, Call
from apps.jobs.statements.instants import from_now

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
        "lease_until": from_now("lease"),
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
