"""Changing the budget of a job at work."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.core import audit, clock
from apps.core.errors import InvalidField
from apps.core.ids import parse_uuid
from apps.core.money import exact_credits
from apps.credits import ledger, pricing
from apps.credits.errors import InsufficientCredits
from apps.jobs import admission, escrow, refusals, spending, statements
from apps.jobs.errors import CeilingTooLow, JobClosed, JobNotFound
from apps.jobs.models import Job
from apps.limits import gate
from apps.limits.errors import SpendLimitReached
from apps.virtual_keys.services import Principal


@dataclass(frozen=True, slots=True)
class Change:
    """What is asked of a job's budget. `given` names the fields that are; the others stay."""

    given: frozenset[str]
    max_micros: int | None = None
    reserves: bool = False
    on_cap: str = Job.OnCap.REFUSE
    deadline: datetime | int | None = None


def change(principal: Principal, *, job_id: str, wanted: Change) -> Job:
    """Change an open job's budget; a repeat changes nothing. A ceiling that is raised, or goes, ends a pause.

    A hold that exceeds a lower ceiling shrinks to it; a reservation grows with a higher one.
    Raises: JobNotFound, JobClosed, CeilingTooLow, InsufficientCredits, SpendLimitReached, InvalidField; nothing is
    changed then.
    """
    parsed = parse_uuid(job_id)
    if parsed is None:
        raise JobNotFound
    try:
        return _changed(principal, parsed, wanted)
    except (InsufficientCredits, SpendLimitReached) as error:
        refusals.record_early(principal, error, job_id=str(parsed), kind="job.refused")
        raise


def _changed(principal: Principal, job_id: UUID, wanted: Change) -> Job:
    with transaction.atomic():
        job = statements.LOCKED_TEAM_JOB.first(id=job_id, team=principal.team.pk)
        if job is None:
            raise JobNotFound
        if job.is_closed:
            raise JobClosed(f"Job is already {job.wire_status}")
        before, was_reserved = job.max_micros, job.reserves_ceiling
        if "max_micros" in wanted.given:
            job.max_micros = wanted.max_micros
        if "reserves" in wanted.given:
            job.reserves_ceiling = wanted.reserves
        if "on_cap" in wanted.given:
            job.on_cap = wanted.on_cap
        if "deadline" in wanted.given:
            job.deadline_at = escrow.instant(wanted.deadline)
        if job.reserves_ceiling and job.max_micros is None:
            raise InvalidField("reserve", "reserve needs max_credits: give it, or reserve: false.")
        _fit_hold(job, before, was_reserved=was_reserved)
        resumes = job.status == Job.Status.PAUSED and _ends_pause(job, before)
        if resumes:
            job.status = Job.Status.IN_PROGRESS if job.started_at else Job.Status.PENDING
            job.paused_reason = ""
            audit.emit(
                "job.resumed",
                subject=f"job:{job.pk}",
                organization_id=principal.organization.organization_id,
                team_id=principal.team.team_id,
                key_id=principal.key_id,
                max_credits=None if job.max_micros is None else exact_credits(job.max_micros),
            )
        job.active_at = clock.db_now()
        job.save(update_fields=_CHANGED)
    return job


_CHANGED = (
    "max_micros",
    "reserves_ceiling",
    "on_cap",
    "deadline_at",
    "terms",
    "held_micros",
    "status",
    "paused_reason",
    "active_at",
)


def _fit_hold(job: Job, before: int | None, *, was_reserved: bool) -> None:
    """Make the hold of a locked job what its new budget asks for. Raises: CeilingTooLow, InsufficientCredits,
    SpendLimitReached."""
    needed, ceiling, held = escrow.needed_micros(job), job.max_micros, job.held_micros
    is_judged = ceiling != before or job.reserves_ceiling > was_reserved
    if ceiling is not None and ceiling < needed and is_judged:
        raise CeilingTooLow(
            f"max_credits must be at least {exact_credits(needed)}: that is what the job has used and what its open"
            f" calls may use, in credits. Asked for: {exact_credits(ceiling)}.",
            job_id=str(job.pk),
            needed_micros=needed,
        )
    if job.reserves_ceiling and ceiling is not None:
        if is_judged:
            # What is held and what it is for are not to part.
            if job.terms is None:
                admission.freeze(job, pricing.terms_in_force(job.team, job.job_type))
            held = ceiling
    elif was_reserved or (ceiling is not None and held > ceiling):
        held = needed
    if held != job.held_micros:
        with spending.counted(job, before=gate.free()):
            ledger.extend(job.team, job=str(job.pk), to_micros=held, job_type=job.job_type)
            job.held_micros = held


def _ends_pause(job: Job, before: int | None) -> bool:
    if job.max_micros is None or job.on_cap != Job.OnCap.PAUSE:
        return True
    return before is not None and job.max_micros > before and job.max_micros > escrow.needed_micros(job)
