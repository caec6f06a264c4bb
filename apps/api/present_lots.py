"""Lots of credits as the wire shows them: each, those that expire soon, and those for some job types alone."""

from typing import Any

from apps.core.clock import iso
from apps.core.money import exact_credits, usd, whole_credits
from apps.credits import ledger, lots
from apps.credits.lots import Lot
from apps.credits.models import Account, Entry

_SOURCES = {
    Entry.Kind.GRANT: "grant",
    Entry.Kind.ALLOCATE: "pool",
    Entry.Kind.REFUND: "refund",
}


def lot(found: Lot, *, to_operator: bool) -> dict[str, Any]:
    """A lot: what it was, what is left of it and until when. What it was sold for is for operators."""
    grant = found.grant
    body = {
        "grant_id": str(grant.pk),
        "transaction_id": str(grant.entry_id),
        "kind": grant.kind,
        "source": _SOURCES[Entry.Kind(grant.entry.kind)],
        "priority": grant.priority,
        "credits_granted": exact_credits(grant.amount_micros),
        "credits_remaining": whole_credits(found.remaining_micros),
        "credits_exact": exact_credits(found.remaining_micros),
        "job_types": ledger.job_types_of(grant.account.restriction) or None,
        "effective_at": iso(grant.effective_at),
        "expires_at": iso(grant.expires_at),
        "created_at": iso(grant.created_at),
    }
    if to_operator:
        price = grant.price_nanousd_per_credit
        body["price_usd_per_credit"] = None if price is None else usd(price, places=9)
    return body


def expiring_soon(accounts: list[Account]) -> dict[str, Any]:
    """Credits that expire within 30 days, soonest first. What jobs hold of them is among them."""
    return {
        "expiring_soon": [
            {
                "credits": whole_credits(each.micros),
                "credits_exact": exact_credits(each.micros),
                "expires_at": iso(each.expires_at),
                "job_types": each.job_types or None,
            }
            for each in lots.expiring_soon(accounts)
        ]
    }


def restricted(accounts: list[Account]) -> dict[str, Any]:
    """Balances beside the general one: of credits for some job types alone."""
    return {
        "restricted": [
            {"job_types": job_types, **balance.as_wire()} for job_types, balance in lots.restricted(accounts)
        ]
    }
