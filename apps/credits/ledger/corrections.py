"""What is put right by another entry: refunds, take-backs and an operator's adjustments."""

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Sum

from apps.core.actors import Actor
from apps.credits.errors import EntryNotReversible, ReversalExceedsEntry
from apps.credits.ledger import accounts, balances, entries, grants
from apps.credits.models import ISSUED_ID, REVENUE_ID, Entry, Grant, GrantUse
from apps.teams.models import Team


def reverse(
    original: Entry,
    *,
    amount_micros: int,
    actor: Actor,
    key: str,
    reason: str,
    external_id: str | None = None,
) -> Entry:
    """Reverse a charge (a refund) or a grant (a take-back), in whole or in part.

    A refund pays the wallet's debt first, then returns to the lots that paid; a rest becomes a goodwill lot. A
    take-back burns the grant's own lot, then what is free of others, and books the rest as debt: it always succeeds.
    Raises: ReversalExceedsEntry, EntryNotReversible, IdempotencyConflict.
    """
    with transaction.atomic():
        refund = original.kind == Entry.Kind.CHARGE
        if not refund and original.kind != Entry.Kind.GRANT:
            raise EntryNotReversible(
                f"An entry of kind '{original.kind}' is not reversed. Reverse a charge or a grant."
            )
        account_id = original.debit_account_id if refund else original.credit_account_id
        kind = Entry.Kind.REFUND if refund else Entry.Kind.TAKE_BACK
        idempotency_key = f"reverse:{original.pk}:{key}"
        balances.lock(account_id)
        first = entries.replayed(
            idempotency_key,
            kind=kind,
            account_id=account_id,
            amount_micros=amount_micros,
            external_id=external_id,
        )
        if first is not None:
            return first
        reversed_before = original.reversals.aggregate(total=Sum("amount_micros"))["total"] or 0
        if amount_micros <= 0 or reversed_before + amount_micros > original.amount_micros:
            raise ReversalExceedsEntry(
                f"At most {original.amount_micros - reversed_before} micros of this entry can still be reversed,"
                f" not {amount_micros}."
            )
        write = _refund if refund else _take_back
        try:
            with transaction.atomic():
                return write(original, account_id, amount_micros, actor, idempotency_key, reason, external_id)
        except IntegrityError:
            entries.refuse_used_external_id(external_id)
            raise


def _refund(
    original: Entry,
    account_id: int,
    amount_micros: int,
    actor: Actor,
    idempotency_key: str,
    reason: str,
    external_id: str | None,
) -> Entry:
    side = balances.post(account_id, posted=amount_micros, used=-amount_micros)
    entry = Entry.objects.create(
        kind=Entry.Kind.REFUND,
        debit_account_id=REVENUE_ID,
        credit_account_id=account_id,
        amount_micros=amount_micros,
        credit_seq=side.seq,
        credit_balance_micros=side.posted,
        job=original.job,
        source=f"entry:{original.pk}",
        actor=str(actor),
        reason=reason,
        idempotency_key=idempotency_key,
        external_id=external_id,
        reverses=original,
    )
    paid_debt = min(side.debt, amount_micros)
    if paid_debt:
        balances.change_debt(account_id, -paid_debt)
    left = amount_micros - paid_debt
    # What earlier partial refunds gave back counts: a lot never gets more than this charge took from it.
    taken: dict[Any, int] = {}
    for use in GrantUse.objects.filter(entry=original).order_by("-id"):
        taken[use.grant_id] = use.amount_micros
    for use in GrantUse.objects.filter(entry__reverses=original):
        taken[use.grant_id] += use.amount_micros
    for grant_id, amount in taken.items():
        returned = min(amount, left)
        if returned == 0:
            continue
        left -= returned
        Grant.objects.filter(pk=grant_id).update(remaining_micros=F("remaining_micros") + returned)
        GrantUse.objects.create(entry=entry, grant_id=grant_id, amount_micros=-returned)
    if left:
        Grant.objects.create(
            account_id=account_id,
            entry=entry,
            kind=Grant.Kind.GOODWILL,
            priority=grants.PRIORITIES[Grant.Kind.GOODWILL],
            amount_micros=left,
            remaining_micros=left,
        )
    return entry


def _take_back(
    original: Entry,
    account_id: int,
    amount_micros: int,
    actor: Actor,
    idempotency_key: str,
    reason: str,
    external_id: str | None,
) -> Entry:
    held = balances.lock(account_id)
    # Debt first and above what may be needed, so that no statement in between breaks the account's CHECK.
    balances.change_debt(account_id, amount_micros)
    side = balances.post(account_id, posted=-amount_micros, allocated=-amount_micros)
    entry = Entry.objects.create(
        kind=Entry.Kind.TAKE_BACK,
        debit_account_id=account_id,
        credit_account_id=ISSUED_ID,
        amount_micros=amount_micros,
        debit_seq=side.seq,
        debit_balance_micros=side.posted,
        source=f"entry:{original.pk}",
        actor=str(actor),
        reason=reason,
        idempotency_key=idempotency_key,
        external_id=external_id,
        reverses=original,
    )
    grants.burn(account_id, entry.pk, amount_micros, spare_micros=held, before=original)
    balances.change_debt(account_id, -amount_micros)
    return entry


def adjust(team: Team, *, amount_micros: int, actor: Actor, key: str, reason: str) -> Entry:
    """Take credits out of a wallet by an operator's decision. More credits are a grant, not an adjustment.

    Raises: InsufficientCredits when less can be spent, IdempotencyConflict, InvalidRequest.
    """
    balances.require_amount(amount_micros)
    with transaction.atomic():
        wallet_id = accounts.wallet_id(team)
        # A twin waits here, and then finds the first.
        balances.lock(wallet_id)
        idempotency_key = f"adjust:{team.team_id}:{key}"
        first = entries.replayed(
            idempotency_key, kind=Entry.Kind.ADJUST, account_id=wallet_id, amount_micros=amount_micros
        )
        if first is not None:
            return first
        side = balances.take(wallet_id, amount_micros)
        if side is None:
            raise accounts.insufficient(team, needed_micros=amount_micros)
        entry = Entry.objects.create(
            kind=Entry.Kind.ADJUST,
            debit_account_id=wallet_id,
            credit_account_id=ISSUED_ID,
            amount_micros=amount_micros,
            debit_seq=side.seq,
            debit_balance_micros=side.posted,
            actor=str(actor),
            reason=reason,
            idempotency_key=idempotency_key,
        )
        grants.burn(wallet_id, entry.pk, amount_micros)
        return entry
