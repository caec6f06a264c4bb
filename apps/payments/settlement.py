"""Brings the ledger to what is known of a payment: its credits granted once, and taken back as far as its money is.

Under the payment's row lock, which is taken before the top-up's, the attempt's and the accounts'.
"""

from django.db import IntegrityError, transaction
from django.db.models import Sum

from apps.core import audit, clock
from apps.core.actors import Actor
from apps.core.errors import DomainError
from apps.core.money import exact_credits
from apps.credits import ledger
from apps.credits.models import Entry
from apps.payments import attempts, currencies
from apps.payments.interface import PaymentEvent
from apps.payments.models import Checkout, Dispute, Payment, TopUpAttempt
from apps.provisioning import credits as provisioning
from apps.teams.models import Team

SOURCE = "payment:one_time"


def locked_payment(provider: str, provider_payment_id: str) -> Payment:
    """The payment under its row lock. One that a refund names before it arrived is made, so that both meet there."""
    Payment.objects.get_or_create(provider=provider, provider_payment_id=provider_payment_id)
    return Payment.objects.select_for_update().get(provider=provider, provider_payment_id=provider_payment_id)


def take_in(payment: Payment, event: PaymentEvent, *, checkout: Checkout | None, attempt: TopUpAttempt | None) -> str:
    """Grant what was paid for, or flag it. Returns what is wrong, empty when nothing is."""
    if attempt is not None:
        attempts.lock(attempt.team)
    if checkout is not None:
        checkout = Checkout.objects.select_for_update(of=("self",)).select_related("team").get(pk=checkout.pk)
    sold = checkout or attempt
    payment.amount_minor, payment.currency = event.amount_minor, event.currency[:3]
    payment.paid_at = clock.db_now()
    problem = _problem(sold, event)
    if sold is not None:
        payment.team, payment.organization_id = sold.team, sold.organization_id
    if sold is not None and not problem:
        problem = _grant(payment, sold, checkout, attempt)
    if problem:
        payment.state, payment.note = Payment.State.FLAGGED, problem
        if checkout is not None and checkout.state == Checkout.State.OPEN:
            _end(checkout, Checkout.State.FAILED)
        if attempt is not None:
            attempts.fail(attempt, "flagged")
    payment.save()
    # What came before it.
    settle(payment, cause=event)
    return problem


def _problem(sold: Checkout | TopUpAttempt | None, event: PaymentEvent) -> str:
    """Why a payment gives no credits."""
    if sold is None:
        return "It names no checkout or top-up of this installation."
    if (event.amount_minor, event.currency) != (sold.amount_minor, sold.currency):
        return f"Paid {event.amount_minor} {event.currency}, asked {sold.amount_minor} {sold.currency} (minor units)."
    if Payment.objects.filter(checkout_id=sold.pk).exists() or Payment.objects.filter(attempt_id=sold.pk).exists():
        return "It was paid before, by another payment."
    return ""


def _grant(
    payment: Payment, sold: Checkout | TopUpAttempt, checkout: Checkout | None, attempt: TopUpAttempt | None
) -> str:
    try:
        # A savepoint: a refusal leaves the payment to be flagged.
        with transaction.atomic():
            payment.entry = provisioning.add_credits(
                sold.team,
                credits=sold.credits,
                actor=Actor("provider", payment.provider),
                key=f"payment:{payment.pk}",
                reason=f"Payment {payment.provider_payment_id}"[:500],
                source=SOURCE,
                external_id=payment.provider_payment_id,
                price_nanousd_per_credit=currencies.price_nanousd_per_credit(
                    sold.amount_minor, sold.currency, sold.credits
                ),
            )
            payment.state, payment.checkout, payment.attempt = Payment.State.PAID, checkout, attempt
            payment.save()
    except (DomainError, IntegrityError) as error:
        payment.entry = payment.checkout = payment.attempt = None
        return error.message if isinstance(error, DomainError) else "It was paid before, by another payment."
    if checkout is not None:
        _end(checkout, Checkout.State.PAID)
    if attempt is not None:
        attempts.succeed(attempt, payment_id=payment.provider_payment_id)
    audit.emit(
        "payment.paid",
        subject=f"payment:{payment.pk}",
        organization_id=sold.organization.organization_id,
        team_id=sold.team.team_id,
        credits=sold.credits,
        amount_minor=sold.amount_minor,
        currency=sold.currency,
    )
    return ""


def _end(checkout: Checkout, state: Checkout.State) -> None:
    checkout.state = state
    checkout.save(update_fields=["state", "updated_at"])


def settle(payment: Payment, *, cause: PaymentEvent) -> None:
    """Take back, or return, what differs from what the refunds and disputes of a locked payment say."""
    # By the payment's id, so that one which an operator entered by hand is found too.
    original = Entry.objects.filter(external_id=payment.provider_payment_id, kind=Entry.Kind.GRANT).first()
    if original is None:
        return
    disputes = list(payment.disputes.order_by("id"))
    returned = Entry.objects.filter(
        external_id__in=[dispute.provider_dispute_id for dispute in disputes], kind=Entry.Kind.GRANT
    )
    entries = [original, *returned]
    reversed_micros = Entry.objects.filter(reverses__in=entries).aggregate(total=Sum("amount_micros"))["total"] or 0
    out_micros = reversed_micros - sum(entry.amount_micros for entry in entries[1:])
    due_micros = _due_back(payment, original.amount_micros, disputes)
    if due_micros > out_micros:
        _take_back(payment, entries, due_micros - out_micros, disputes, cause)
    elif due_micros < out_micros:
        _return(payment, original, out_micros - due_micros, disputes, cause)


def _due_back(payment: Payment, granted_micros: int, disputes: list[Dispute]) -> int:
    """How much of a payment's credits its money no longer covers: all in a dispute, else the refunded part."""
    if any(dispute.state != Dispute.State.WON for dispute in disputes):
        return granted_micros
    if not payment.amount_minor:
        return 0
    # Rounded down; the last refund makes it whole.
    return granted_micros * min(payment.refunded_minor, payment.amount_minor) // payment.amount_minor


def _take_back(
    payment: Payment, entries: list[Entry], amount_micros: int, disputes: list[Dispute], cause: PaymentEvent
) -> None:
    pending = [dispute for dispute in disputes if dispute.state != Dispute.State.WON]
    reason = f"{'Dispute' if pending else 'Refund'} of payment {payment.provider_payment_id}"
    left = amount_micros
    # The newest first: what a won dispute gave again before what it had taken.
    for entry in reversed(entries):
        before = entry.reversals.aggregate(total=Sum("amount_micros"))["total"] or 0
        taken = min(left, entry.amount_micros - before)
        if taken > 0:
            ledger.reverse(
                entry,
                amount_micros=taken,
                actor=Actor("provider", payment.provider),
                key=f"event:{cause.id}",
                reason=reason[:500],
            )
            left -= taken
    done_micros = amount_micros - left
    if pending and done_micros:
        pending[-1].taken_back_micros += done_micros
        pending[-1].save(update_fields=["taken_back_micros", "updated_at"])
    kind = "payment.disputed" if pending else "payment.refunded"
    _tell(payment, kind, done_micros, reason=reason, team=_team(entries[0]))


def _return(
    payment: Payment, original: Entry, amount_micros: int, disputes: list[Dispute], cause: PaymentEvent
) -> None:
    """Grant again what won disputes had taken; what others took back by hand stays theirs to decide."""
    won = next((each for each in disputes if each.provider_dispute_id == cause.dispute_id), None)
    taken = sum(dispute.taken_back_micros - dispute.returned_micros for dispute in disputes)
    amount_micros = min(amount_micros, taken)
    if won is None or amount_micros <= 0:
        return
    lot = original.grants.order_by("created_at").first()
    reason = f"Dispute of payment {payment.provider_payment_id} was won"
    ledger.grant(
        _team(original),
        amount_micros=amount_micros,
        actor=Actor("provider", payment.provider),
        key=f"dispute:{won.pk}",
        reason=reason[:500],
        source=SOURCE,
        external_id=won.provider_dispute_id,
        price_nanousd_per_credit=lot.price_nanousd_per_credit if lot else None,
    )
    won.returned_micros += amount_micros
    won.save(update_fields=["returned_micros", "updated_at"])
    _tell(payment, "payment.dispute_won", amount_micros, reason=reason, team=_team(original))


def _team(entry: Entry) -> Team:
    team = entry.credit_account.team
    assert team is not None, "payments are granted to teams"
    return team


def _tell(payment: Payment, kind: str, amount_micros: int, *, reason: str, team: Team) -> None:
    audit.record(
        "team.credits",
        actor=Actor("provider", payment.provider),
        kind="team",
        id=team.team_id,
        after={kind: exact_credits(amount_micros)},
        reason=reason,
    )
    audit.emit(
        kind,
        subject=f"payment:{payment.pk}",
        organization_id=team.organization.organization_id,
        team_id=team.team_id,
        credits=exact_credits(amount_micros),
    )
