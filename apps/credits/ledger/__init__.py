"""The only writer of accounts, entries, holds and grants. Amounts are micros of a credit, above zero.

Each function is one short transaction (or joins the caller's) and can be repeated: the same idempotency key
returns the first entry. Raw SQL is allowed in this package alone: Django's update() cannot return the row it
changed, and the guard, the change and the new balance must be one statement. See docs/ledger.md.
"""

from apps.credits.ledger.accounts import ensure_system_accounts, insufficient, lock_wallet, open_wallet
from apps.credits.ledger.balances import require_amount
from apps.credits.ledger.charging import Charge, charge
from apps.credits.ledger.corrections import adjust, reverse
from apps.credits.ledger.grants import grant
from apps.credits.ledger.holds import extend, hold, hold_many, release

__all__ = [
    "Charge",
    "adjust",
    "charge",
    "ensure_system_accounts",
    "extend",
    "grant",
    "hold",
    "hold_many",
    "insufficient",
    "lock_wallet",
    "open_wallet",
    "release",
    "require_amount",
    "reverse",
]
