"""The end of a job by its customer's wish: no more calls, what nobody has begun is not made, streams break off."""

from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from apps.core import audit, idempotency
from apps.core.actors import Actor
from apps.core.ids import parse_uuid
from apps.jobs import lifecycle, replies, statements
from apps.jobs.errors import JobNotFound
from apps.jobs.models import Call, Job
from apps.teams.models import Team

_UNMADE = lifecycle.Outcome(
    Call.State.CANCELLED,
    error_code="call_cancelled",
    # Not 503: nobody is to ask for it again.
    error_status=400,
    error_message="LLM call failed: its job was cancelled",
)


def cancel_job(
    team: Team,
    *,
    job_id: str,
    closed_by: str,
    reason: str | None = None,
    idempotent: idempotency.Request | None = None,
    actor: Actor | None = None,
) -> tuple[Job, bool]:
    """Cancel an open job. A closed one is returned as it is, whatever its verdict. By an operator (`actor`) with an
    audit row.

    Queued calls that nobody took are ended, with the job; running ones go on, streams until their worker next looks.
    Returns the job and whether this idempotency key was used before. Raises: JobNotFound, IdempotencyConflict.
    """
    parsed = parse_uuid(job_id)
    if parsed is None:
        raise JobNotFound
    unmade: list[Call] = []
    with transaction.atomic():
        is_replay = idempotency.claim(idempotent).is_replay if idempotent else False
        job = statements.LOCKED_TEAM_JOB.first(id=parsed, team=team.pk)
        if job is None:
            raise JobNotFound
        if not job.is_closed:
            # Job, calls, accounts: closing may release a hold.
            unclaimed = _locked_unclaimed(job) if job.open_calls else []
            if actor is not None:
                _audit(job, actor, reason or "")
            # Closed first, so that the end of its last call closes nothing itself.
            lifecycle.close_job(job, Job.Status.CANCELLED, closed_by=closed_by, error_message=reason)
            unmade = [call for call in unclaimed if lifecycle.end_call(job.pk, call.pk, _UNMADE, claim=0)]
            if unmade:
                job = statements.LOCKED_TEAM_JOB.first(id=parsed, team=team.pk)
                assert job is not None, "jobs are never deleted"
    replies.send_many([(call.reply_to, call.pk) for call in unmade])
    if job.status == Job.Status.CANCELLED and job.open_calls:
        _ask_to_stop(job)
    return job, is_replay


def _audit(job: Job, actor: Actor, reason: str) -> None:
    audit.record(
        "job.cancel",
        actor=actor,
        kind="job",
        id=str(job.pk),
        before={"status": job.status},
        after={"status": Job.Status.CANCELLED},
        reason=reason,
    )


def _locked_unclaimed(job: Job) -> list[Call]:
    """Those calls of a locked job that no worker took, under their locks: now none will."""
    queued = Call.objects.filter(job=job, state=Call.State.QUEUED, claim=0)
    return list(queued.select_for_update().order_by("pk").only("pk", "reply_to"))


def _ask_to_stop(job: Job) -> None:
    """Tell the workers of its streams that nobody wants more. One row at a time: leases lock many, in any order."""
    streams: list[Any] = list(
        Call.objects.filter(job=job, state__in=Call.OPEN_STATES, is_streamed=True).values_list("pk", flat=True)
    )
    for call_id in streams:
        Call.objects.filter(pk=call_id, state__in=Call.OPEN_STATES, cancel_requested_at__isnull=True).update(
            cancel_requested_at=Now()
        )
