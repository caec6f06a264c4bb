"""Asks the provider for top-ups: a charge of the saved method, or a page where the customer confirms it.

An attempt's id is the idempotency key of every try: a crash in between costs a try, not a second charge.
"""

import logging
import threading
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet

from apps.core import clock
from apps.core.actors import SYSTEM
from apps.core.db import is_postgresql, release_connection
from apps.payments import attempts, checkouts
from apps.payments.errors import PaymentMethodMissing, ProviderRejected, ProviderUnavailable
from apps.payments.interface import ChargeRequest, ChargeResult
from apps.payments.models import SavedMethod, TopUp, TopUpAttempt
from apps.payments.providers import is_configured, provider

State = TopUpAttempt.State
# Providers forget an idempotency key after a day: past this, asking again could charge again.
KEY_LASTS = timedelta(hours=20)
# A customer's page is open for a day.
ACTION_LASTS = timedelta(hours=48)
_BATCH = 20
_RETRY_S = 30
_RETRY_MOST_S = 3600

log = logging.getLogger("saasllm.payments")


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


def give_up() -> None:
    """End what can no longer be asked again, and what no customer has confirmed."""
    if not is_configured():
        return
    now = clock.db_now()
    unknown = TopUpAttempt.objects.filter(
        state=State.PENDING, provider_payment_id="", created_at__lte=now - KEY_LASTS
    )
    for attempt in unknown.select_related("team__organization")[:_BATCH]:
        with transaction.atomic():
            attempts.fail(attempt, attempts.OUTCOME_UNKNOWN if attempt.tries else "not_charged")
    waiting = TopUpAttempt.objects.filter(state=State.REQUIRES_ACTION, created_at__lt=now - ACTION_LASTS)
    for attempt in waiting.select_related("team__organization")[:_BATCH]:
        with transaction.atomic():
            attempts.fail(attempt, "not_confirmed")


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
            attempts.fail(attempt, attempts.OUTCOME_UNKNOWN if attempt.tries else "switched_off")
        return
    saved = SavedMethod.objects.filter(team=attempt.team).first()
    if saved is None:
        with transaction.atomic():
            attempts.fail(attempt, PaymentMethodMissing.code)
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
        attempts.ask_customer(attempt, payment_id=result.payment_id, url=result.action_url, code=result.error_code)
    elif result.state == "declined":
        attempts.fail(attempt, result.error_code)
    else:
        # Also when the webhook was faster and the attempt has ended.
        TopUpAttempt.objects.filter(pk=attempt.pk).update(provider_payment_id=result.payment_id)


def _offer_page(attempt: TopUpAttempt) -> None:
    """Give the customer a page where the attempt's payment is confirmed."""
    found = TopUp.objects.select_related("pack").get(team=attempt.team)
    with transaction.atomic():
        attempts.lock(attempt.team)
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
            attempts.fail(attempt, error.reason or error.code)
        return
    TopUpAttempt.objects.filter(pk=attempt.pk).update(action_url=checkout.url)
