"""Closing a month: what belongs to it is fixed by each account's sequence, so that nothing can enter it later.

A month is one of UTC and is closed after those before it. Entries of an account are in it up to the last one that was
written before its end, by the database's clock: a number, and no later entry has a smaller one.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Count, Max, Min, Q

from apps.core import audit, clock
from apps.core.actors import Actor
from apps.core.errors import InvalidField
from apps.core.verification import Difference
from apps.credits import sealing
from apps.credits.errors import PeriodNotClosable
from apps.credits.models import SYSTEM_ACCOUNTS, Block, Entry, Period, PeriodBalance

# An entry is dated by its transaction's start: so long after the end none is still being written.
GRACE = timedelta(minutes=15)


def bounds(name: str) -> tuple[datetime, datetime]:
    """A month's first instant, and the first after it. Raises: InvalidField unless it is YYYY-MM."""
    try:
        if len(name) != 7:
            raise ValueError
        starts = datetime.strptime(name, "%Y-%m").replace(tzinfo=UTC)
        return starts, (starts + timedelta(days=31)).replace(day=1)
    except (ValueError, OverflowError):
        raise InvalidField("period", "period must be a month as YYYY-MM, such as 2026-10.", value=name) from None


def close(name: str, *, actor: Actor) -> tuple[Period, bool]:
    """Close a month: seal its entries and record every account's last one and balance. Returns it, and whether it
    had been closed before: then nothing changes.

    Raises: InvalidField, PeriodNotClosable while it runs or one before it is open.
    """
    starts_at, ends_at = bounds(name)
    closed = Period.objects.filter(pk=name).first()
    if closed is not None:
        return closed, True
    if clock.db_now() < ends_at + GRACE:
        raise PeriodNotClosable(
            f"Period {name} can be closed {int(GRACE.total_seconds() // 60)} minutes after its end,"
            f" from {clock.iso(ends_at + GRACE)} on."
        )
    _require_in_order(name, starts_at)
    last_seqs = _last_seqs(ends_at)
    for account_id, last_seq in last_seqs.items():
        sealing.seal(account_id, until_seq=last_seq)
    with transaction.atomic():
        period, is_new = Period.objects.get_or_create(pk=name, defaults={"ends_at": ends_at, "closed_by": str(actor)})
        if not is_new:
            return period, True
        PeriodBalance.objects.bulk_create(
            [_balance(period, account_id, last_seq) for account_id, last_seq in sorted(last_seqs.items())],
            batch_size=500,
        )
        audit.record("period.close", actor=actor, kind="period", id=name, after={"accounts": len(last_seqs)})
    return Period.objects.get(pk=name), False


def periods_are_as_they_were_closed() -> Iterator[Difference]:
    """A closed month's balances are those of the entries that it ends with, and its blocks have kept their hashes."""
    for row in PeriodBalance.objects.order_by("period", "account").iterator():
        subject = f"period:{row.period_id} account:{row.account_id}"
        posted = _posted_after(row.account_id, row.last_seq)
        if posted != row.posted_micros:
            yield Difference("period.posted_micros", subject, row.posted_micros, posted)
        found = _hash_at(row.account_id, row.last_seq)
        if found != row.block_hash:
            yield Difference("period.block_hash", subject, row.block_hash, found)


def _require_in_order(name: str, starts_at: datetime) -> None:
    newest = Period.objects.order_by("-name").first()
    if newest is not None:
        if newest.ends_at != starts_at:
            following = newest.ends_at.strftime("%Y-%m")
            raise PeriodNotClosable(f"Periods are closed in order: the next one to close is {following}.")
        return
    first = Entry.objects.aggregate(at=Min("created_at"))["at"]
    if first is not None and first < starts_at:
        raise PeriodNotClosable(
            f"Periods are closed in order: the next one to close is {first.astimezone(UTC):%Y-%m}."
        )


def _last_seqs(ends_at: datetime) -> dict[int, int]:
    """By account: the number of its last entry written before that instant. What was closed stays closed."""
    found: dict[int, int] = {}
    for row in PeriodBalance.objects.values("account").annotate(last=Max("last_seq")):
        found[row["account"]] = row["last"]
    for side in ("credit", "debit"):
        written = Entry.objects.filter(created_at__lt=ends_at).exclude(**{f"{side}_account__in": SYSTEM_ACCOUNTS})
        for account_id, last in written.order_by().values_list(f"{side}_account").annotate(Max(f"{side}_seq")):
            found[account_id] = max(found.get(account_id, 0), last)
    return found


def _balance(period: Period, account_id: int, last_seq: int) -> PeriodBalance:
    posted = _posted_after(account_id, last_seq)
    if posted is None:
        raise PeriodNotClosable(
            f"Entry {last_seq} of account {account_id} is missing: run `manage.py ledger_verify` first."
        )
    return PeriodBalance(
        period=period,
        account_id=account_id,
        last_seq=last_seq,
        posted_micros=posted,
        block_hash=_hash_at(account_id, last_seq),
    )


def _posted_after(account_id: int, seq: int) -> int | None:
    entry = Entry.objects.filter(
        Q(credit_account=account_id, credit_seq=seq) | Q(debit_account=account_id, debit_seq=seq)
    ).first()
    if entry is None:
        return None
    return entry.credit_balance_micros if entry.credit_account_id == account_id else entry.debit_balance_micros


def _hash_at(account_id: int, seq: int) -> str:
    """The hash of the block that has the entry of this number."""
    block = Block.objects.filter(account=account_id, first_seq__lte=seq, last_seq__gte=seq).only("hash").first()
    return block.hash if block else ""


def account_counts(found: Sequence[Period]) -> dict[str, int]:
    """How many accounts each of these periods closed, by its name. One query."""
    counts = PeriodBalance.objects.filter(period__in=found).order_by().values_list("period").annotate(Count("pk"))
    return dict(counts)
