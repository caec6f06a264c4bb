"""Recurring allowances and grants dated ahead: posted when they are due, each once, by whichever sweep comes first.

An allowance has no reset: its refills are the anchor plus so many periods, and each is an entry with a key of its
own. After a standstill what was missed is given, except credits that would have expired by now.
"""

import calendar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from apps.core import audit, clock
from apps.core.actors import SYSTEM, Actor
from apps.core.db import is_postgresql
from apps.core.errors import InvalidField, InvalidRequest
from apps.core.ids import parse_uuid
from apps.core.money import exact_credits
from apps.credits import ledger
from apps.credits.errors import ScheduledGrantNotFound
from apps.credits.models import Allowance, Grant, ScheduledGrant
from apps.teams.models import Team

# Refills of one team that a run catches up with; the next run goes on.
_CATCH_UP = 60
_PERIODS = ("monthly", "weekly", "daily")


@dataclass(frozen=True, slots=True)
class Refill:
    """A team's allowance as the wire shows it. Credits in micros."""

    is_enabled: bool = False
    amount_micros: int | None = None
    period: str | None = None
    rolls_over: bool = True
    next_at: datetime | None = None
    last_refill_at: datetime | None = None


def occurrence(anchor: datetime, period: str, number: int) -> datetime:
    """The instant `number` periods after the anchor. A month without the anchor's day ends on its last one."""
    if period == Allowance.Period.DAILY:
        return anchor + timedelta(days=number)
    if period == Allowance.Period.WEEKLY:
        return anchor + timedelta(weeks=number)
    months = anchor.year * 12 + anchor.month - 1 + number
    year, month = divmod(months, 12)
    day = min(anchor.day, calendar.monthrange(year, month + 1)[1])
    return anchor.replace(year=year, month=month + 1, day=day)


def refill_of(team: Team) -> Refill:
    """The team's allowance; disabled and empty before it was ever configured."""
    found = Allowance.objects.filter(team=team).first()
    return _shown(found) if found is not None else Refill()


def configure(
    team: Team,
    *,
    enabled: bool,
    actor: Actor,
    amount_micros: int | None = None,
    period: str | None = None,
    rolls_over: bool | None = None,
    first_at: datetime | None = None,
) -> Refill:
    """Switch a team's allowance on or off. Off keeps its settings.

    The first refill comes at `first_at`, else one period from now; a change of the amount alone leaves the rhythm.
    Raises: InvalidRequest for what is missing or wrong when it is switched on.
    """
    if enabled and (amount_micros is None or amount_micros <= 0):
        raise InvalidRequest("refill_amount must be a positive integer when enabling auto-refill")
    if enabled and not period:
        raise InvalidRequest("refill_period must be specified when enabling auto-refill")
    if period and period not in _PERIODS:
        raise InvalidRequest("refill_period must be 'monthly', 'weekly', or 'daily'")
    with transaction.atomic():
        Allowance.objects.get_or_create(team=team)
        found = Allowance.objects.select_for_update().get(team=team)
        before = _audited(found)
        if enabled:
            assert amount_micros is not None
            assert period is not None
            if not found.is_enabled or found.period != period or first_at is not None:
                found.anchor_at = first_at or clock.db_now()
                found.next_number = 0 if first_at is not None else 1
                found.next_at = occurrence(found.anchor_at, period, found.next_number)
            found.amount_micros, found.period = amount_micros, period
        if rolls_over is not None:
            found.rolls_over = rolls_over
        found.is_enabled = enabled
        found.save()
        audit.record(
            "team.allowance", actor=actor, kind="team", id=team.team_id, before=before, after=_audited(found)
        )
    return _shown(found)


def note_payment(team: Team) -> None:
    """A subscription was paid by hand: that is the team's last refill."""
    Allowance.objects.update_or_create(team=team, defaults={"last_refill_at": clock.db_now()})


def refill_due(*, limit: int = 100) -> int:
    """Post the refills that are due. Returns how many. Safe beside itself."""
    posted = 0
    for team_id in list(
        Allowance.objects.filter(is_enabled=True, next_at__lte=clock.db_now())
        .order_by("next_at")
        .values_list("pk", flat=True)[:limit]
    ):
        with transaction.atomic():
            due = (
                Allowance.objects.select_for_update(skip_locked=is_postgresql(), of=("self",))
                .select_related("team")
                .filter(pk=team_id, is_enabled=True)
                .first()
            )
            if due is not None:
                posted += _refill(due)
    return posted


def schedule(
    team: Team,
    *,
    amount_micros: int,
    effective_at: datetime,
    actor: Actor,
    kind: Grant.Kind = Grant.Kind.PAID,
    expires_at: datetime | None = None,
    reason: str = "",
) -> ScheduledGrant:
    """Plan a grant for an instant ahead. Raises: InvalidField for instants that make no sense."""
    ledger.require_amount(amount_micros)
    if effective_at <= clock.db_now():
        raise InvalidField("effective_at", "effective_at must be in the future; grant what is due now directly.")
    if expires_at is not None and expires_at <= effective_at:
        raise InvalidField("expires_at", "expires_at must be after effective_at.")
    with transaction.atomic():
        planned = ScheduledGrant.objects.create(
            team=team,
            kind=kind,
            amount_micros=amount_micros,
            effective_at=effective_at,
            expires_at=expires_at,
            reason=reason,
            actor=str(actor),
        )
        audit.record(
            "grant.schedule",
            actor=actor,
            kind="team",
            id=team.team_id,
            after={"scheduled_grant": str(planned.pk), "credits": exact_credits(amount_micros)},
            reason=reason,
        )
    return planned


def cancel(team: Team, scheduled_id: str, *, actor: Actor) -> ScheduledGrant:
    """Drop a grant that was not posted yet. A repeat changes nothing.

    Raises: ScheduledGrantNotFound, InvalidRequest once it is posted.
    """
    parsed = parse_uuid(scheduled_id)
    with transaction.atomic():
        planned = ScheduledGrant.objects.select_for_update().filter(team=team, pk=parsed).first() if parsed else None
        if planned is None:
            raise ScheduledGrantNotFound(f"Team '{team.team_id}' has no scheduled grant '{scheduled_id}'")
        if planned.entry_id is not None:
            raise InvalidRequest("This grant was posted. Reverse its entry instead.")
        if planned.cancelled_at is None:
            planned.cancelled_at = clock.db_now()
            planned.save(update_fields=["cancelled_at"])
            audit.record(
                "grant.unschedule",
                actor=actor,
                kind="team",
                id=team.team_id,
                before={"scheduled_grant": str(planned.pk), "credits": exact_credits(planned.amount_micros)},
            )
    return planned


def post_scheduled(*, limit: int = 100) -> int:
    """Post the grants whose time has come. Returns how many. Safe beside itself.

    After a standstill one whose credits would have expired by now is dropped, as an allowance's refill is.
    """
    posted, now = 0, clock.db_now()
    due = ScheduledGrant.objects.filter(
        entry__isnull=True, cancelled_at__isnull=True, effective_at__lte=now
    ).order_by("effective_at")
    for scheduled_id in list(due.values_list("pk", flat=True)[:limit]):
        with transaction.atomic():
            planned = (
                ScheduledGrant.objects.select_for_update(skip_locked=is_postgresql(), of=("self",))
                .select_related("team__organization")
                .filter(pk=scheduled_id, entry__isnull=True, cancelled_at__isnull=True)
                .first()
            )
            if planned is None:
                continue
            if planned.expires_at is not None and planned.expires_at <= now:
                _drop(planned, now)
                continue
            planned.entry = ledger.grant(
                planned.team,
                amount_micros=planned.amount_micros,
                actor=SYSTEM,
                key=f"scheduled:{planned.pk}",
                kind=Grant.Kind(planned.kind),
                reason=planned.reason or "Scheduled grant",
                source=f"scheduled_grant:{planned.pk}",
                expires_at=planned.expires_at,
            )
            planned.save(update_fields=["entry"])
            posted += 1
    return posted


def _drop(planned: ScheduledGrant, now: datetime) -> None:
    """Give up a locked grant whose credits nobody could spend any more."""
    planned.cancelled_at = now
    planned.save(update_fields=["cancelled_at"])
    told = {"scheduled_grant": str(planned.pk), "credits": exact_credits(planned.amount_micros)}
    audit.record(
        "grant.schedule_expired",
        actor=SYSTEM,
        kind="team",
        id=planned.team.team_id,
        before=told,
        reason=f"Not posted before its credits expired at {clock.iso(planned.expires_at)}",
    )
    audit.emit(
        "grant.schedule_expired",
        subject=f"team:{planned.team.team_id}",
        organization_id=planned.team.organization.organization_id,
        team_id=planned.team.team_id,
        **told,
    )


def _refill(due: Allowance) -> int:
    """Post what is due of one locked allowance."""
    assert due.anchor_at is not None
    assert due.amount_micros is not None
    assert due.next_at is not None
    now, posted = clock.db_now(), 0
    while due.next_at <= now and posted < _CATCH_UP:
        following = occurrence(due.anchor_at, due.period, due.next_number + 1)
        expires_at = None if due.rolls_over else following
        if expires_at is None or expires_at > now:
            ledger.grant(
                due.team,
                amount_micros=due.amount_micros,
                actor=SYSTEM,
                key=f"allowance:{due.anchor_at.timestamp():.6f}:{due.next_number}",
                kind=Grant.Kind.SUBSCRIPTION,
                reason=f"{due.period.capitalize()} allowance",
                source="allowance",
                expires_at=expires_at,
            )
            due.last_refill_at = now
            posted += 1
        due.next_number += 1
        due.next_at = following
    due.save(update_fields=["next_number", "next_at", "last_refill_at", "updated_at"])
    return posted


def _shown(found: Allowance) -> Refill:
    return Refill(
        is_enabled=found.is_enabled,
        amount_micros=found.amount_micros,
        period=found.period or None,
        rolls_over=found.rolls_over,
        next_at=found.next_at if found.is_enabled else None,
        last_refill_at=found.last_refill_at,
    )


def _audited(found: Allowance) -> dict[str, Any]:
    return {
        "enabled": found.is_enabled,
        "credits": None if found.amount_micros is None else exact_credits(found.amount_micros),
        "period": found.period or None,
        "rolls_over": found.rolls_over,
    }
