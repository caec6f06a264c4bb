"""Automatic top-ups: by consent, below a monthly ceiling, one attempt at a time; credits come by the webhook alone.

An attempt is committed before the provider is asked, and its id is the idempotency key of every try: a crash in
between costs a try, not a second charge. After a decline a day passes, after three top-ups are off.
"""

import logging
import threading
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, Sum

from apps.core import audit, clock
from apps.core.actors import SYSTEM, Actor
from apps.core.db import is_postgresql, release_connection
from apps.core.errors import InvalidField
from apps.core.money import exact_credits
from apps.credits.models import Account
from apps.organizations.models import Organization
from apps.payments import checkouts
from apps.payments.errors import PaymentMethodMissing, ProviderRejected, ProviderUnavailable
from apps.payments.interface import ChargeRequest, ChargeResult
from apps.payments.models import CreditPack, SavedMethod, TopUp, TopUpAttempt
from apps.payments.providers import is_configured, provider
from apps.teams.models import Team

State = TopUpAttempt.State
DECLINES_MAX = 3
AFTER_DECLINE = timedelta(days=1)
# Providers forget an idempotency key after a day: past this, asking again could charge again.
KEY_LASTS = timedelta(hours=20)
# A customer's page is open for a day.
ACTION_LASTS = timedelta(hours=48)
OUTCOME_UNKNOWN = "outcome_unknown"
_BATCH = 20
_RETRY_S = 30
_RETRY_MOST_S = 3600

log = logging.getLogger("saasllm.payments")


def find(team: Team) -> TopUp | None:
    return TopUp.objects.select_related("pack").filter(team=team).first()


def configure(
    team: Team,
    *,
    threshold_micros: int,
    pack: CreditPack,
    monthly_ceiling_minor: int,
    return_url: str,
    actor: Actor,
) -> TopUp:
    """Record a team's consent to top-ups of this pack at its present price; it replaces the one before.

    Raises: PaymentsNotConfigured, PaymentMethodMissing, InvalidField for a ceiling below one pack.
    """
    provider()
    if not SavedMethod.objects.filter(team=team).exists():
        raise PaymentMethodMissing
    if monthly_ceiling_minor < pack.amount_minor:
        raise InvalidField(
            "monthly_ceiling", f"Must be at least the pack's price, {pack.amount_minor}.", value=monthly_ceiling_minor
        )
    with transaction.atomic():
        before = lock(team)
        TopUp.objects.update_or_create(
            team=team,
            defaults={
                "is_enabled": True,
                "threshold_micros": threshold_micros,
                "pack": pack,
                "credits": pack.credits,
                "amount_minor": pack.amount_minor,
                "currency": pack.currency,
                "monthly_ceiling_minor": monthly_ceiling_minor,
                "return_url": return_url,
                "consented_by": str(actor)[:255],
                "consented_at": clock.db_now(),
                "declines": 0,
                "next_attempt_at": None,
                "disabled_reason": "",
            },
        )
        after = TopUp.objects.select_related("pack").get(team=team)
        _audit(team, before, after, actor)
    return after


def switch_off(team: Team, *, actor: Actor) -> TopUp | None:
    """Withdraw the consent; an attempt that is open stays what it is. Repeatable."""
    with transaction.atomic():
        before = lock(team)
        if before is not None and before.is_enabled:
            TopUp.objects.filter(team=team).update(is_enabled=False, disabled_reason="")
            _audit(team, before, TopUp.objects.get(team=team), actor)
    return find(team)


def lock(team: Team) -> TopUp | None:
    """The team's top-up under its row lock, which comes before its attempts'."""
    return TopUp.objects.select_for_update().filter(team=team).first()


def open_due() -> int:
    """Write an attempt for each team that needs one, and end those that nothing more will come of. Returns how many
    were written. Safe beside itself, asks no provider."""
    if not is_configured():
        return 0
    _give_up()
    return sum(_open(team_id) for team_id in list(_due().values_list("pk", flat=True)[:_BATCH]))


def _due() -> QuerySet[TopUp]:
    wallets = Account.objects.filter(team=OuterRef("pk"), kind=Account.Kind.WALLET, restriction="")
    spendable = wallets.values(amount=F("posted_micros") - F("held_micros"))[:1]
    is_open = TopUpAttempt.objects.filter(team=OuterRef("pk"), state__in=TopUpAttempt.OPEN)
    return (
        TopUp.objects.filter(
            ~Exists(is_open),
            Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=clock.from_now(0)),
            is_enabled=True,
            team__status=Team.Status.ACTIVE,
            team__organization__status=Organization.Status.ACTIVE,
        )
        .annotate(spendable_micros=Subquery(spendable))
        .filter(spendable_micros__lt=F("threshold_micros"))
    )


def _open(team_id: int) -> int:
    """Write the attempt of one team, judged anew under its lock."""
    with transaction.atomic():
        found = (
            TopUp.objects.select_for_update(skip_locked=is_postgresql(), of=("self",))
            .select_related("team__organization", "pack")
            .filter(pk=team_id)
            .first()
        )
        if found is None or not _due().filter(pk=team_id).exists():
            return 0
        pack = found.pack
        if not pack.is_active or (pack.credits, pack.amount_minor, pack.currency) != (
            found.credits,
            found.amount_minor,
            found.currency,
        ):
            # Nobody consented to this price.
            _disable(found, "pack_changed")
            return 0
        now = clock.db_now()
        if spent_in_month(found, now) + found.amount_minor > found.monthly_ceiling_minor:
            found.next_attempt_at = _next_month(now)
            found.save(update_fields=["next_attempt_at", "updated_at"])
            _emit("top_up.ceiling_reached", found.team, ceiling_minor=found.monthly_ceiling_minor)
            return 0
        TopUpAttempt.objects.create(
            team=found.team,
            organization_id=found.team.organization_id,
            credits=found.credits,
            amount_minor=found.amount_minor,
            currency=found.currency,
        )
        return 1


def spent_in_month(top_up: TopUp, now: datetime) -> int:
    """What the attempts of the month came to or may yet come to, in minor units. Months are those of UTC."""
    since = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    counted = TopUpAttempt.objects.for_team(top_up.team).filter(
        Q(state__in=(*TopUpAttempt.OPEN, State.SUCCEEDED)) | Q(error_code=OUTCOME_UNKNOWN),
        created_at__gte=since,
        currency=top_up.currency,
    )
    return counted.aggregate(total=Sum("amount_minor"))["total"] or 0


def _next_month(now: datetime) -> datetime:
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


# --- Asking the provider -----------------------------------------------------------------------------------


def _unsubmitted() -> QuerySet[TopUpAttempt]:
    """Attempts of which the provider has to be asked: not yet charged, or to be confirmed on a page not made yet."""
    uncharged = Q(
        state=State.PENDING, provider_payment_id="", created_at__gt=clock.from_now(-KEY_LASTS.total_seconds())
    )
    return TopUpAttempt.objects.filter(
        uncharged | Q(state=State.REQUIRES_ACTION, action_url=""), next_try_at__lte=clock.from_now(0)
    )


_submitting = threading.Lock()


def submit_in_background() -> None:
    """Ask the provider what is to be asked, in a thread of its own: the sweeper waits for no network."""
    if not is_configured() or not _unsubmitted().exists() or not _submitting.acquire(blocking=False):
        return

    def run() -> None:
        try:
            submit_due()
        except Exception:
            # A defect met by one run must not end the thread's lock with it.
            log.exception("top-ups failed")
        finally:
            _submitting.release()
            release_connection()

    threading.Thread(target=run, name="top-ups", daemon=True).start()


def submit_due() -> int:
    """Ask the provider for each attempt that is due. Returns how many were asked for. Outside of transactions."""
    return sum(_submit(attempt_id) for attempt_id in list(_unsubmitted().values_list("pk", flat=True)[:_BATCH]))


def _give_up() -> None:
    """End what can no longer be asked again, and what no customer has confirmed."""
    now = clock.db_now()
    unknown = TopUpAttempt.objects.filter(
        state=State.PENDING, provider_payment_id="", created_at__lte=now - KEY_LASTS
    )
    for attempt in unknown.select_related("team__organization")[:_BATCH]:
        with transaction.atomic():
            fail(attempt, OUTCOME_UNKNOWN if attempt.tries else "not_charged")
    waiting = TopUpAttempt.objects.filter(state=State.REQUIRES_ACTION, created_at__lt=now - ACTION_LASTS)
    for attempt in waiting.select_related("team__organization")[:_BATCH]:
        with transaction.atomic():
            fail(attempt, "not_confirmed")


def _submit(attempt_id: Any) -> int:
    with transaction.atomic():
        # Whoever gets the row asks; it is due again later, should this process die.
        attempt = (
            TopUpAttempt.objects.select_for_update(skip_locked=is_postgresql(), of=("self",))
            .select_related("team")
            .filter(pk__in=_unsubmitted().filter(pk=attempt_id).values("pk"))
            .first()
        )
        if attempt is None:
            return 0
        delay_s = min(_RETRY_S * 2 ** min(attempt.tries, 10), _RETRY_MOST_S)
        TopUpAttempt.objects.filter(pk=attempt.pk).update(tries=F("tries") + 1, next_try_at=clock.from_now(delay_s))
    try:
        if attempt.state == State.REQUIRES_ACTION:
            _offer_page(attempt)
        else:
            _charge(attempt)
    except ProviderUnavailable:
        log.warning("top-up %s: the provider did not answer, it is asked again", attempt.pk)
    return 1


def _charge(attempt: TopUpAttempt) -> None:
    if not TopUp.objects.filter(team=attempt.team, is_enabled=True).exists():
        # Withdrawn meanwhile. Whether an earlier try has charged, the webhook will tell.
        with transaction.atomic():
            fail(attempt, OUTCOME_UNKNOWN if attempt.tries else "switched_off")
        return
    saved = SavedMethod.objects.filter(team=attempt.team).first()
    if saved is None:
        with transaction.atomic():
            fail(attempt, PaymentMethodMissing.code)
        return
    request = ChargeRequest(
        key=f"top-up:{attempt.pk}",
        attempt=str(attempt.pk),
        description=f"{attempt.credits} credits",
        amount_minor=attempt.amount_minor,
        currency=attempt.currency,
        customer_id=saved.customer_id,
        method_id=saved.method_id,
    )
    release_connection()
    result = provider().charge_off_session(request)
    with transaction.atomic():
        _note(attempt, result)
    if result.state == "requires_action" and not result.action_url:
        attempt.refresh_from_db()
        if attempt.state == State.REQUIRES_ACTION and not attempt.action_url:
            _offer_page(attempt)


def _note(attempt: TopUpAttempt, result: ChargeResult) -> None:
    if result.state == "requires_action":
        ask_customer(attempt, payment_id=result.payment_id, url=result.action_url, code=result.error_code)
    elif result.state == "declined":
        fail(attempt, result.error_code)
    else:
        # Also when the webhook was faster and the attempt has ended.
        TopUpAttempt.objects.filter(pk=attempt.pk).update(provider_payment_id=result.payment_id)


def _offer_page(attempt: TopUpAttempt) -> None:
    """Give the customer a page where the attempt's payment is confirmed."""
    found = find(attempt.team)
    assert found is not None, "an attempt follows a consent"
    with transaction.atomic():
        lock(attempt.team)
        checkout = getattr(attempt, "checkout", None) or checkouts.create(
            attempt.team,
            found.pack,
            success_url=found.return_url,
            cancel_url=found.return_url,
            actor=SYSTEM,
            saves_method=True,
            attempt=attempt,
        )
    try:
        checkout = checkouts.with_page(checkout)
    except ProviderRejected as error:
        with transaction.atomic():
            fail(attempt, error.reason or error.code)
        return
    TopUpAttempt.objects.filter(pk=attempt.pk).update(action_url=checkout.url)


# --- What became of an attempt; inside the caller's transaction --------------------------------------------


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
    _emit("top_up.requires_action", found.team, attempt=str(found.pk))


def fail(attempt: TopUpAttempt, code: str) -> None:
    """The attempt came to nothing. A repeat changes nothing."""
    top_up, found = _locked(attempt)
    if found.state not in TopUpAttempt.OPEN:
        return
    now = clock.db_now()
    found.state, found.error_code, found.ended_at = State.FAILED, code[:255], now
    found.save(update_fields=["state", "error_code", "ended_at"])
    _emit("top_up.failed", found.team, attempt=str(found.pk), reason=found.error_code)
    if top_up is None:
        return
    top_up.declines += 1
    top_up.next_attempt_at = now + AFTER_DECLINE
    top_up.save(update_fields=["declines", "next_attempt_at", "updated_at"])
    if code in (OUTCOME_UNKNOWN, PaymentMethodMissing.code):
        _disable(top_up, code)
    elif top_up.declines >= DECLINES_MAX:
        _disable(top_up, "declined")


def succeed(attempt: TopUpAttempt, *, payment_id: str) -> None:
    """The provider has the money, however late: the webhook says so."""
    top_up, found = _locked(attempt)
    found.state, found.provider_payment_id, found.action_url = State.SUCCEEDED, payment_id, ""
    found.ended_at = clock.db_now()
    found.save(update_fields=["state", "provider_payment_id", "action_url", "ended_at"])
    if top_up is not None:
        top_up.declines = 0
        top_up.save(update_fields=["declines", "updated_at"])
    _emit("top_up.succeeded", found.team, attempt=str(found.pk))


def _disable(top_up: TopUp, reason: str) -> None:
    if not top_up.is_enabled:
        return
    before = TopUp.objects.get(pk=top_up.pk)
    top_up.is_enabled, top_up.disabled_reason = False, reason[:100]
    top_up.save(update_fields=["is_enabled", "disabled_reason", "updated_at"])
    _audit(top_up.team, before, top_up, SYSTEM)
    _emit("top_up.disabled", top_up.team, reason=reason)


def _emit(kind: str, team: Team, **data: Any) -> None:
    organization_id = team.organization.organization_id
    audit.emit(kind, subject=f"team:{team.team_id}", organization_id=organization_id, team_id=team.team_id, **data)


def _audit(team: Team, before: TopUp | None, after: TopUp, actor: Actor) -> None:
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
