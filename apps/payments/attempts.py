"""What becomes of a top-up's attempt, and of the consent with it. Inside the caller's transaction.

The team's top-up is locked first, then its attempt.
"""

from datetime import timedelta
from typing import Any

from apps.core import audit, clock
from apps.core.actors import SYSTEM, Actor
from apps.core.money import exact_credits
from apps.payments.errors import PaymentMethodMissing
from apps.payments.models import TopUp, TopUpAttempt
from apps.teams.models import Team

State = TopUpAttempt.State
DECLINES_MAX = 3
AFTER_DECLINE = timedelta(days=1)
OUTCOME_UNKNOWN = "outcome_unknown"


def lock(team: Team) -> TopUp | None:
    """The team's top-up under its row lock, which comes before its attempts'."""
    return TopUp.objects.select_for_update().filter(team=team).first()


def _locked(attempt: TopUpAttempt) -> tuple[TopUp | None, TopUpAttempt]:
    found = lock(attempt.team)
    return found, TopUpAttempt.objects.select_for_update(of=("self",)).select_related("team").get(pk=attempt.pk)


def ask_customer(attempt: TopUpAttempt, *, payment_id: str, url: str, code: str) -> None:
    """The customer has to confirm the payment."""
    _, found = _locked(attempt)
    if found.state != State.PENDING:
        return
    found.state, found.action_url, found.error_code = State.REQUIRES_ACTION, url, code
    found.provider_payment_id = payment_id or found.provider_payment_id
    found.next_try_at = clock.db_now()
    found.save(update_fields=["state", "action_url", "error_code", "provider_payment_id", "next_try_at"])
    emit("top_up.requires_action", found.team, attempt=str(found.pk))


def fail(attempt: TopUpAttempt, code: str) -> None:
    """The attempt came to nothing. A repeat changes nothing."""
    top_up, found = _locked(attempt)
    if found.state not in TopUpAttempt.OPEN:
        return
    now = clock.db_now()
    found.state, found.error_code, found.ended_at = State.FAILED, code[:255], now
    found.save(update_fields=["state", "error_code", "ended_at"])
    emit("top_up.failed", found.team, attempt=str(found.pk), reason=found.error_code)
    if top_up is None:
        return
    top_up.declines += 1
    top_up.next_attempt_at = now + AFTER_DECLINE
    top_up.save(update_fields=["declines", "next_attempt_at", "updated_at"])
    if code in (OUTCOME_UNKNOWN, PaymentMethodMissing.code):
        disable(top_up, code)
    elif top_up.declines >= DECLINES_MAX:
        disable(top_up, "declined")


def succeed(attempt: TopUpAttempt, *, payment_id: str) -> None:
    """The provider has the money, however late: the webhook says so."""
    top_up, found = _locked(attempt)
    found.state, found.provider_payment_id, found.action_url = State.SUCCEEDED, payment_id, ""
    found.ended_at = clock.db_now()
    found.save(update_fields=["state", "provider_payment_id", "action_url", "ended_at"])
    if top_up is not None:
        top_up.declines = 0
        top_up.save(update_fields=["declines", "updated_at"])
    emit("top_up.succeeded", found.team, attempt=str(found.pk))


def disable(top_up: TopUp, reason: str) -> None:
    """Switch a locked consent off. A repeat changes nothing."""
    if not top_up.is_enabled:
        return
    before = TopUp.objects.get(pk=top_up.pk)
    top_up.is_enabled, top_up.disabled_reason = False, reason[:100]
    top_up.save(update_fields=["is_enabled", "disabled_reason", "updated_at"])
    record(top_up.team, before, top_up, SYSTEM)
    emit("top_up.disabled", top_up.team, reason=reason)


def emit(kind: str, team: Team, **data: Any) -> None:
    """An event about a team's top-ups."""
    organization_id = team.organization.organization_id
    audit.emit(kind, subject=f"team:{team.team_id}", organization_id=organization_id, team_id=team.team_id, **data)


def record(team: Team, before: TopUp | None, after: TopUp, actor: Actor) -> None:
    """The audit row of a changed consent."""
    audit.record(
        "team.top_up",
        actor=actor,
        kind="team",
        id=team.team_id,
        before=_audited(before),
        after=_audited(after),
        reason=after.disabled_reason,
    )


def _audited(found: TopUp | None) -> dict[str, Any]:
    if found is None:
        return {"enabled": False}
    return {
        "enabled": found.is_enabled,
        "threshold": exact_credits(found.threshold_micros),
        "pack": str(found.pack_id),
        "amount_minor": found.amount_minor,
        "currency": found.currency,
        "monthly_ceiling_minor": found.monthly_ceiling_minor,
    }
