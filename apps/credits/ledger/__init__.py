"""The only writer of accounts, entries, holds and grants. Amounts are micros of a credit, above zero.

Each function is one short transaction (or joins the caller's) and can be repeated: the same idempotency key
returns the first entry. Raw SQL is allowed in this package alone: Django's update() cannot return the row it
changed, and the guard, the change and the new balance must be one statement. See docs/ledger.md.
"""

from apps.credits.ledger.accounts import ensure_system_accounts, insufficient, job_types_of, lock_wallet, open_wallet
from apps.credits.ledger.balances import is_due, lock, require_amount
from apps.credits.ledger.charging import Charge, charge
from apps.credits.ledger.corrections import adjust, reverse, reversible_micros
from apps.credits.ledger.expiry import due_on, expire_due
from apps.credits.ledger.grants import grant, grant_to_pool
from apps.credits.ledger.holds import extend, hold, hold_many, release
from apps.credits.ledger.lines import set_credit_line
from apps.credits.ledger.pools import allocate, reclaim

__all__ = [
    "Charge",
    "adjust",
    "allocate",
    "charge",
    "due_on",
    "ensure_system_accounts",
    "expire_due",
    "extend",
    "grant",
    "grant_to_pool",
    "hold",
    "hold_many",
    "insufficient",
    "is_due",
    "job_types_of",
    "lock",
    "lock_wallet",
    "open_wallet",
    "reclaim",
    "release",
    "require_amount",
    "reverse",
    "reversible_micros",
    "set_credit_line",
]
