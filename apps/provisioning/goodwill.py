"""How much of what moves credits is within the limit of operators who hold `credits.write` in part: support."""

from django.conf import settings

from apps.core.ids import parse_uuid
from apps.core.money import MICROS, exact_credits
from apps.credits import ledger
from apps.credits.models import Entry, Grant
from apps.organizations.identity import Operator
from apps.organizations.rights import Right


def require_may_grant(by: Operator, *, credits: int, kind: str) -> None:
    """Goodwill of up to SUPPORT_CREDITS_MAX at a time is within it, other kinds are not. Raises: RightMissing."""
    within = kind == Grant.Kind.GOODWILL and credits <= settings.SUPPORT_CREDITS_MAX
    by.require(Right.CREDITS_WRITE, within=within, doing=f"grant {credits} {kind} credits")


def require_may_refund(by: Operator, transaction_id: str, *, micros: int | None) -> None:
    """A charge may be refunded by up to SUPPORT_CREDITS_MAX, in one part or several; without `micros` all
    that is left of it.

    To be asked in the refund's transaction: another refund of the charge may be on its way. Raises: RightMissing.
    """
    if by.holds(Right.CREDITS_WRITE):
        return
    parsed = parse_uuid(transaction_id)
    charge = Entry.objects.select_for_update(no_key=True).filter(pk=parsed).first() if parsed else None
    if charge is None:
        # Found to be missing by the refund itself, for those who may ask.
        by.require(Right.CREDITS_WRITE, within=True, doing="refund jobs")
        return
    left = ledger.reversible_micros(charge)
    asked = left if micros is None else micros
    refunded = charge.amount_micros - left
    within = refunded + asked <= settings.SUPPORT_CREDITS_MAX * MICROS
    by.require(Right.CREDITS_WRITE, within=within, doing=f"refund {exact_credits(asked)} credits of one charge")
