"""Sealing: an account's entries are hashed in blocks, so that a row changed behind the ledger's back is found.

Off the hot path and without a lock: entries are numbered under their account's lock, so that all up to the number
read from it are committed. The hashes have no key; who could rewrite entries and blocks alike is caught by heads kept
elsewhere (`manage.py ledger_seal --heads`) and in closed periods.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta

import orjson
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from apps.core import clock
from apps.core.verification import Difference
from apps.credits.models import SYSTEM_ACCOUNTS, Account, Block, Entry, GrantUse

# Of what a digest covers (`_covered`). A change of that is a new version beside the old one.
VERSION = 1
DIGEST_BYTES = 16
ENTRIES_A_BLOCK = 256
# Fewer entries than a block takes wait for so long.
SEALED_AFTER = timedelta(minutes=10)


def seal_due(*, at_most: int = 50) -> int:
    """Seal full blocks, and what has waited long enough, of at most so many accounts. Returns the blocks made."""
    old = clock.db_now() - SEALED_AFTER
    following = OuterRef("sealed_seq") + 1
    has_waited = Exists(
        Entry.objects.filter(
            Q(credit_account=OuterRef("pk"), credit_seq=following)
            | Q(debit_account=OuterRef("pk"), debit_seq=following),
            created_at__lt=old,
        )
    )
    # Judged by the database: else accounts that are not due would take the places of those that are.
    due = _unsealed().filter(Q(seq__gte=F("sealed_seq") + ENTRIES_A_BLOCK) | has_waited)
    return sum(seal(account_id, until_seq=seq) for account_id, seq in list(due[:at_most]))


def seal_all() -> int:
    """Seal every entry that there is. Returns the blocks made."""
    return sum(seal(account_id, until_seq=seq) for account_id, seq in list(_unsealed()))


def seal(account_id: int, *, until_seq: int) -> int:
    """Seal an account's entries up to that number, of which all must be committed. Returns the blocks made.

    Of two that seal at once one makes the block; the other stops.
    """
    made = 0
    last = _newest(account_id)
    while (last.last_seq if last else 0) < until_seq:
        try:
            with transaction.atomic():
                last = _next_block(account_id, last, until_seq)
        except IntegrityError:
            return made
        made += 1
    return made


def heads() -> Iterator[tuple[int, Block]]:
    """Each account's newest block, by account."""
    newest = Block.objects.filter(account=OuterRef("account")).order_by("-number").values("pk")[:1]
    for block in Block.objects.filter(pk=Subquery(newest)).order_by("account").iterator():
        yield block.account_id, block


@dataclass(frozen=True, slots=True)
class Sealed:
    """The block that has an entry of an account, and whether the entry is what was sealed."""

    block: Block
    is_unchanged: bool


def sealed(account_id: int, seq: int) -> Sealed | None:
    """What is known of the account's entry of that number; None while no block has it."""
    block = Block.objects.filter(account=account_id, first_seq__lte=seq, last_seq__gte=seq).first()
    if block is None:
        return None
    place = (seq - block.first_seq) * DIGEST_BYTES
    expected = bytes(block.digests)[place : place + DIGEST_BYTES]
    _, digest = _digests(account_id, seq, seq).get(seq, (None, bytes(DIGEST_BYTES)))
    return Sealed(block, is_unchanged=digest == expected)


def blocks_hold_what_was_sealed() -> Iterator[Difference]:
    """Every block follows the one before and has the hash of what it says, and every entry is as it was sealed."""
    account_id, before = 0, None
    for block in Block.objects.order_by("account", "number").iterator(chunk_size=100):
        if block.account_id != account_id:
            account_id, before = block.account_id, None
        yield from _chained(block, before)
        yield from _unchanged(block)
        before = block


def _unsealed() -> QuerySet[Account, tuple[int, int]]:
    """Accounts with entries that no block has: id and newest number."""
    sealed = Block.objects.filter(account=OuterRef("pk")).order_by("-number").values("last_seq")[:1]
    return (
        Account.objects.exclude(pk__in=SYSTEM_ACCOUNTS)
        .annotate(sealed_seq=Coalesce(Subquery(sealed), Value(0)))
        .filter(seq__gt=F("sealed_seq"))
        .order_by("pk")
        .values_list("pk", "seq")
    )


def _newest(account_id: int) -> Block | None:
    return Block.objects.filter(account=account_id).order_by("-number").defer("digests").first()


def _next_block(account_id: int, last: Block | None, until_seq: int) -> Block:
    first_seq = last.last_seq + 1 if last else 1
    last_seq = min(until_seq, first_seq + ENTRIES_A_BLOCK - 1)
    found = _digests(account_id, first_seq, last_seq)
    block = Block(
        account_id=account_id,
        number=last.number + 1 if last else 1,
        version=VERSION,
        first_seq=first_seq,
        last_seq=last_seq,
        # A number without an entry is sealed as such: `entries_follow_each_other` says what is wrong there.
        digests=b"".join(found.get(seq, (None, bytes(DIGEST_BYTES)))[1] for seq in range(first_seq, last_seq + 1)),
        previous_hash=last.hash if last else "",
    )
    block.hash = _hash(block)
    block.save(force_insert=True)
    return block


def _hash(block: Block) -> str:
    head = [block.account_id, block.number, block.version, block.first_seq, block.last_seq, block.previous_hash]
    return hashlib.sha256(orjson.dumps(head) + bytes(block.digests)).hexdigest()


def _chained(block: Block, before: Block | None) -> Iterator[Difference]:
    subject = f"block:{block.number} of account:{block.account_id}"
    expected = (before.number + 1, before.last_seq + 1, before.hash) if before else (1, 1, "")
    found = (block.number, block.first_seq, block.previous_hash)
    if found != expected:
        yield Difference("block.chain", subject, str(expected), str(found))
    if block.hash != _hash(block):
        yield Difference("block.hash", subject, _hash(block), block.hash)


def _unchanged(block: Block) -> Iterator[Difference]:
    now = _digests(block.account_id, block.first_seq, block.last_seq)
    sealed = bytes(block.digests)
    for place, seq in enumerate(range(block.first_seq, block.last_seq + 1)):
        expected = sealed[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
        pk, digest = now.get(seq, (None, bytes(DIGEST_BYTES)))
        if digest != expected:
            subject = f"entry:{pk}" if pk is not None else "no entry"
            yield Difference(
                "entry.sealed", f"{subject}, number {seq} of account:{block.account_id}", expected.hex(), digest.hex()
            )


def _digests(account_id: int, first_seq: int, last_seq: int) -> dict[int, tuple[str | None, bytes]]:
    """By number: the entry's id and the digest of what it says."""
    entries = list(_sides(account_id, first_seq, last_seq))
    uses: dict[object, list[list[object]]] = {}
    of_entries = GrantUse.objects.filter(entry__in=entries).order_by("grant")
    for entry_id, grant_id, amount in of_entries.values_list("entry", "grant", "amount_micros"):
        uses.setdefault(entry_id, []).append([str(grant_id), amount])
    found: dict[int, tuple[str | None, bytes]] = {}
    for entry in entries:
        seq = entry.credit_seq if entry.credit_account_id == account_id else entry.debit_seq
        covered = orjson.dumps([*_covered(entry), uses.get(entry.pk, [])])
        found[seq or 0] = (str(entry.pk), hashlib.blake2b(covered, digest_size=DIGEST_BYTES).digest())
    return found


def _sides(account_id: int, first_seq: int, last_seq: int) -> QuerySet[Entry]:
    numbers = (first_seq, last_seq)
    return Entry.objects.filter(
        Q(credit_account=account_id, credit_seq__range=numbers)
        | Q(debit_account=account_id, debit_seq__range=numbers)
    ).order_by()


def _covered(entry: Entry) -> Sequence[object]:
    return (
        str(entry.pk),
        entry.kind,
        entry.debit_account_id,
        entry.credit_account_id,
        entry.amount_micros,
        entry.debit_seq,
        entry.debit_balance_micros,
        entry.credit_seq,
        entry.credit_balance_micros,
        entry.job,
        entry.source,
        entry.actor,
        entry.reason,
        entry.idempotency_key,
        entry.external_id,
        str(entry.reverses_id or ""),
        entry.created_at.astimezone(UTC).isoformat(timespec="microseconds"),
    )
