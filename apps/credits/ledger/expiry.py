"""Credits that expire: what remains of a lot at its instant, less what the holds opened before it may still burn.

An account's `next_expiry_at` is never later than the soonest expiry of a lot with something left. A hold's one
statement is guarded by it, so no expired credit is ever held; where the guard fails, what is due is posted first
(decision 0006). Amounts are micros.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from django.db import transaction
from django.db.models import F, Min, Q
from django.db.models.functions import Now

from apps.core.actors import SYSTEM
from apps.core.db import is_postgresql
from apps.credits.ledger import balances
from apps.credits.models import EXPIRED_ID, Account, Entry, Grant, GrantUse, Hold


class Lot(Protocol):
    """What is asked of a lot."""

    pk: Any
    remaining_micros: int
    expires_at: datetime | None


class Due(NamedTuple):
    """What expires of a lot."""

    lot_id: UUID
    amount_micros: int


def expirable(lots: Sequence[Lot], holds: Iterable[tuple[datetime, int]], *, at: datetime) -> list[Due]:
    """What expires of these lots, which are in burn order. Holds are given by opening instant and amount.

    A lot keeps what holds older than its expiry reach when all of them burn in order. One lot after the other, by
    expiry: what went of one moves the others up.
    """
    left = {lot.pk: lot.remaining_micros for lot in lots}
    holds = list(holds)
    due = []
    expired = [(lot.expires_at, place) for place, lot in enumerate(lots) if lot.expires_at and lot.expires_at <= at]
    for expires_at, place in sorted(expired):
        lot = lots[place]
        reached = sum(amount for opened_at, amount in holds if opened_at < expires_at)
        before = sum(left[each.pk] for each in lots[:place])
        gone = left[lot.pk] - min(left[lot.pk], max(0, reached - before))
        if gone:
            left[lot.pk] -= gone
            due.append(Due(lot.pk, gone))
    return due


def due_on(account_id: int) -> list[Due]:
    """What of the account's lots has expired and is not posted yet. Changes nothing."""
    lots = list(
        Grant.objects.filter(account=account_id, remaining_micros__gt=0)
        .annotate(asked_at=Now())
        .only("remaining_micros", "expires_at")
    )
    if not lots:
        return []
    holds = Hold.objects.filter(account=account_id, state=Hold.State.OPEN, amount_micros__gt=0)
    return expirable(lots, holds.values_list("opened_at", "amount_micros"), at=lots[0].asked_at)


def settle(account_id: int) -> int:
    """Post what has expired on an account whose lock the caller has. How much that was.

    Every entry can be made once: its key counts the expiries of its lot, and the lock makes them follow each other.
    """
    due = due_on(account_id)
    for lot_id, amount in due:
        _post(account_id, lot_id, amount)
    soonest = Grant.objects.filter(account=account_id, remaining_micros__gt=0).aggregate(at=Min("expires_at"))["at"]
    Account.objects.filter(pk=account_id).update(next_expiry_at=soonest)
    return sum(amount for _, amount in due)


def _post(account_id: int, lot_id: UUID, amount_micros: int) -> None:
    before = GrantUse.objects.filter(grant=lot_id, entry__kind=Entry.Kind.EXPIRE).count()
    side = balances.post(account_id, posted=-amount_micros, allocated=-amount_micros)
    entry = Entry.objects.create(
        kind=Entry.Kind.EXPIRE,
        debit_account_id=account_id,
        credit_account_id=EXPIRED_ID,
        amount_micros=amount_micros,
        debit_seq=side.seq,
        debit_balance_micros=side.posted,
        source=f"grant:{lot_id}",
        actor=str(SYSTEM),
        reason="Expired",
        idempotency_key=f"expire:grant:{lot_id}:{before + 1}",
    )
    Grant.objects.filter(pk=lot_id).update(remaining_micros=F("remaining_micros") - amount_micros)
    GrantUse.objects.create(entry=entry, grant_id=lot_id, amount_micros=amount_micros)


def note(account_id: int, expires_at: datetime | None) -> None:
    """Have the account's guard know of a lot that has something left now."""
    if expires_at is not None:
        Account.objects.filter(pk=account_id).filter(
            Q(next_expiry_at__isnull=True) | Q(next_expiry_at__gt=expires_at)
        ).update(next_expiry_at=expires_at)


def expire_due(*, after: int = 0, limit: int = 200) -> tuple[int, int | None]:
    """Post what has expired on at most `limit` accounts with ids above `after`, whoever else is at work.

    Returns the entries posted, and the last account's id, None when there are no more.
    """
    with transaction.atomic():
        due = Account.objects.filter(pk__gt=after, next_expiry_at__lte=Now()).order_by("pk")
        locked = due.select_for_update(skip_locked=is_postgresql()).values_list("pk", flat=True)
        ids = list(locked[:limit])
        posted = sum(settle(account_id) > 0 for account_id in ids)
    return posted, ids[-1] if len(ids) == limit else None
