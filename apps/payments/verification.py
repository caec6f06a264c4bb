"""What must hold of payments: each gave its credits once, by a grant of its own team and size."""

from collections.abc import Iterator

from django.db.models import Exists, OuterRef

from apps.core.money import MICROS
from apps.core.verification import Difference
from apps.credits.models import Entry
from apps.payments.models import Dispute, Payment


def payments_gave_what_was_sold() -> Iterator[Difference]:
    """A payment's entry is the grant that bears its id, of what its checkout or attempt sold."""
    paid = Payment.objects.filter(state=Payment.State.PAID).select_related(
        "entry__credit_account", "checkout", "attempt"
    )
    for payment in paid.iterator():
        entry, sold = payment.entry, payment.checkout or payment.attempt
        assert entry is not None
        expected = f"{sold.credits * MICROS if sold else None} to team {payment.team_id}"
        found = f"{entry.amount_micros} to team {entry.credit_account.team_id}"
        if expected != found or entry.external_id != payment.provider_payment_id:
            yield Difference("payment.entry", f"payment:{payment.pk}", expected, found)


def paid_grants_have_their_payment() -> Iterator[Difference]:
    """A grant that a provider caused belongs to a payment, or to a dispute that was won."""
    returned = Dispute.objects.filter(
        provider_dispute_id=OuterRef("external_id"),
        returned_micros=OuterRef("amount_micros"),
        state=Dispute.State.WON,
    )
    orphans = Entry.objects.filter(
        ~Exists(returned),
        ~Exists(Payment.objects.filter(entry=OuterRef("pk"))),
        kind=Entry.Kind.GRANT,
        actor__startswith="provider:",
    )
    for entry in orphans.iterator():
        yield Difference("payment.orphan", f"entry:{entry.pk}", "a payment", None)


CHECKS = (payments_gave_what_was_sold, paid_grants_have_their_payment)
