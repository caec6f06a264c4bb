"""A job's budget: a ceiling of what it may hold and cost, what a call beyond it does, and a deadline.

Without a reservation the hold still grows by call; the ceiling only says how far (docs/ledger.md, "Escrow").
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from apps.core import audit, clock
from apps.core.clock import iso
from apps.core.errors import InvalidField
from apps.core.money import exact_credits, whole_credits
from apps.jobs import lifecycle
from apps.jobs.errors import JobCapReached, JobDeadlinePassed
from apps.jobs.models import Call, Job
from apps.virtual_keys.services import Principal

BUDGET = "budget"
DEADLINE_MAX = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Budget:
    """What a job is given when it is opened. A deadline is an instant, or seconds from the database's now."""

    max_micros: int | None = None
    reserves: bool = False
    on_cap: str = Job.OnCap.REFUSE
    deadline: datetime | int | None = None


def put_on(job: Job, budget: Budget) -> None:
    """Give a new job its budget. Raises: InvalidField."""
    if budget.reserves and budget.max_micros is None:
        raise InvalidField("reserve", "reserve takes max_credits at once: give max_credits too.")
    job.max_micros, job.reserves_ceiling, job.on_cap = budget.max_micros, budget.reserves, budget.on_cap
    job.deadline_at = instant(budget.deadline)


def require_in_time(job: Job) -> None:
    """Raises: JobDeadlinePassed. A query only for a job with a deadline."""
    if job.deadline_at is not None and job.deadline_at <= clock.db_now():
        raise JobDeadlinePassed(
            f"The job's deadline {iso(job.deadline_at)} has passed. Open another job.", job_id=str(job.pk)
        )


def require_room(job: Job, needed: Callable[[Job], int]) -> None:
    """Whether the locked job may hold what a call needs, `needed` in all. Raises: JobCapReached."""
    if job.max_micros is None:
        return
    needed_micros = needed(job)
    if needed_micros <= job.max_micros and job.status != Job.Status.PAUSED:
        return
    raise _cap_reached(job, needed_micros, needed)


def pause(principal: Principal, error: JobCapReached) -> bool:
    """Pause the job of a call that was refused at its ceiling. In a transaction of its own: that of the refusal is
    undone. False when the job has room by now (its ceiling was raised, a call ended): then the call is judged again.
    """
    assert error.needed is not None
    with transaction.atomic():
        job = lifecycle.lock_job(error.details["job_id"])
        if job.status == Job.Status.PAUSED:
            return True
        if job.is_closed or job.max_micros is None or error.needed(job) <= job.max_micros:
            return False
        if job.on_cap != Job.OnCap.PAUSE:
            return True
        job.status, job.paused_reason = Job.Status.PAUSED, BUDGET
        Job.objects.filter(pk=job.pk).update(status=job.status, paused_reason=BUDGET, active_at=Now())
        audit.emit(
            "job.budget_paused",
            subject=f"job:{job.pk}",
            organization_id=principal.organization.organization_id,
            team_id=principal.team.team_id,
            key_id=principal.key_id,
            max_credits=exact_credits(job.max_micros),
            held=exact_credits(job.held_micros),
            needed=exact_credits(error.needed(job)),
        )
    return True


def needed_micros(job: Job) -> int:
    """Micros that the job may come to: what was served, and the most that its open calls can cost."""
    terms = lifecycle.terms_of(job)
    return lifecycle.needed_hold(job, terms) if terms is not None and job.total_calls else 0


def used_micros(job: Job) -> int:
    """Micros that the job costs by now: what was charged, or would be if it were completed."""
    if job.charge_state in (Job.ChargeState.CHARGED, Job.ChargeState.FREE):
        return job.charged_micros
    terms = lifecycle.terms_of(job)
    price = lifecycle.price_so_far(job, terms) if terms is not None and job.successful_calls else 0
    return price if job.max_micros is None else min(price, job.max_micros)


def remaining_micros(job: Job) -> int | None:
    """Micros of its ceiling that neither were used nor may be by open calls; None without a ceiling."""
    if job.max_micros is None:
        return None
    is_settled = job.charge_state in (Job.ChargeState.CHARGED, Job.ChargeState.FREE)
    return max(0, job.max_micros - (used_micros(job) if is_settled else needed_micros(job)))


def as_wire(job: Job) -> dict[str, Any] | None:
    """Whole credits as integers, rounded down, and exact ones beside them; None without a ceiling."""
    remaining = remaining_micros(job)
    if remaining is None or job.max_micros is None:
        return None
    figures = {
        "max_credits": job.max_micros,
        "held": job.held_micros,
        "used": used_micros(job),
        "remaining": remaining,
    }
    return {
        **{name: whole_credits(micros) for name, micros in figures.items()},
        **{f"{name}_exact": exact_credits(micros) for name, micros in figures.items()},
        "reserve": job.reserves_ceiling,
        "on_cap": job.on_cap,
        "deadline": iso(job.deadline_at),
    }


def of_call(call: Call) -> dict[str, Any] | None:
    """What a call's answer says of its job's ceiling. A job that was not read with its call has none."""
    return as_wire(call.job) if Call.job.is_cached(call) else None


def instant(deadline: datetime | int | None) -> datetime | None:
    """When a deadline is. Raises: InvalidField for an instant that has passed or is too far away."""
    if deadline is None:
        return None
    now = clock.db_now()
    at = now + timedelta(seconds=deadline) if isinstance(deadline, int) else deadline
    if not now < at <= now + DEADLINE_MAX:
        raise InvalidField(
            "deadline", f"deadline must be in the future, at most {DEADLINE_MAX.days} days from now.", value=str(at)
        )
    return at


def tell_of_only_call(error: JobCapReached) -> None:
    """Say what helps a job that the refusal of its only call closes: its ceiling can no longer be raised."""
    ceiling, need = (exact_credits(error.details[name]) for name in ("allowed", "needed_micros"))
    error.message = (
        f"This call would exceed its job's max_credits: {ceiling} credits; it would need {need}. Ask again with"
        " max_credits of at least that, or for fewer tokens."
    )


def _cap_reached(job: Job, needed_micros: int, needed: Callable[[Job], int]) -> JobCapReached:
    assert job.max_micros is not None
    ceiling, held, need = (exact_credits(each) for each in (job.max_micros, job.held_micros, needed_micros))
    is_paused = job.status == Job.Status.PAUSED
    error = JobCapReached(
        f"{'The job is paused at' if is_paused else 'This call would exceed'} its max_credits: {ceiling} credits,"
        f" of which {held} are held; with this call it would need {need}. Raise it: PATCH /api/jobs/{job.pk} with"
        f" max_credits.",
        limit="max_credits",
        scope="job",
        id=str(job.pk),
        job_id=str(job.pk),
        max_credits=ceiling,
        on_cap=job.on_cap,
        needed_micros=needed_micros,
        used=used_micros(job),
        held=job.held_micros,
        allowed=job.max_micros,
        unit="micros",
        resets_at=None,
    )
    error.needed = needed
    error.pauses = job.on_cap == Job.OnCap.PAUSE and not is_paused
    return error
