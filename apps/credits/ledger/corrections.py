"""What is put right by another entry: refunds, take-backs and an operator's adjustments."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Sum

from apps.core.actors import Actor
from apps.credits.errors import EntryNotReversible, ReversalExceedsEntry
from apps.credits.ledger import accounts, balances, entries, expiry, grants, wallets
from apps.credits.models import ISSUED_ID, REVENUE_ID, Account, Entry, Grant, GrantUse
from apps.teams.models import Team


def reverse(
    original: Entry,
    *,
    amount_micros: int | None,
    actor: Actor,
    key: str,
    reason: str,
    external_id: str | None = None,
) -> Entry:
    """Reverse a charge (a refund) or a grant (a take-back), in part, or without an amount all that is left of it.

    A refund pays the wallet's debt first, then returns to the lots that paid; what expired meanwhile, and a rest,
    become goodwill lots (the former for REFUND_GRACE_DAYS). A take-back burns the grant's own lot, then what is free
    of others, and books the rest as debt: it always succeeds.
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
        account = wallets.locked_account(account_id)
        first = entries.replayed(
            idempotency_key,
            kind=kind,
            account_id=account_id,
            amount_micros=amount_micros,
            external_id=external_id,
        )
        if first is not None:
            return first
        left = reversible_micros(original)
        if amount_micros is None:
            amount_micros = left
        if not 0 < amount_micros <= left:
            raise ReversalExceedsEntry(
                f"At most {left} micros of this entry can still be reversed, not {amount_micros}.",
                reversible_micros=left,
            )
        write = _refund if refund else _take_back
        try:
            with transaction.atomic():
                return write(original, account, amount_micros, actor, idempotency_key, reason, external_id)
        except IntegrityError:
            entries.refuse_used_external_id(external_id)
            raise


def reversible_micros(original: Entry) -> int:
    """What of an entry is not reversed yet."""
    return original.amount_micros - (original.reversals.aggregate(total=Sum("amount_micros"))["total"] or 0)


def _refund(
    original: Entry,
    account: Account,
    amount_micros: int,
    actor: Actor,
    idempotency_key: str,
    reason: str,
    external_id: str | None,
) -> Entry:
    side = balances.post(account.pk, posted=amount_micros, used=-amount_micros)
    entry = Entry.objects.create(
        kind=Entry.Kind.REFUND,
        debit_account_id=REVENUE_ID,
        credit_account_id=account.pk,
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
        balances.change_debt(account.pk, -paid_debt)
    left = amount_micros - paid_debt
    asked_at: datetime = account.asked_at  # type: ignore[attr-defined]
    for lot, amount in _still_taken(original):
        returned = min(amount, left)
        if returned == 0:
            continue
        left -= returned
        if lot.expires_at is not None and lot.expires_at <= asked_at:
            _goodwill(account.pk, entry, returned, instead_of=lot, until=asked_at + _grace())
            continue
        Grant.objects.filter(pk=lot.pk).update(remaining_micros=F("remaining_micros") + returned)
        GrantUse.objects.create(entry=entry, grant=lot, amount_micros=-returned)
        expiry.note(account.pk, lot.expires_at)
    if left:
        _goodwill(account.pk, entry, left)
    return entry


def _still_taken(original: Entry) -> list[tuple[Grant, int]]:
    """What a charge took of lots less what earlier refunds of it gave back, the lot that burned last first: a lot
    never gets more than this charge took from it."""
    uses = list(GrantUse.objects.filter(entry=original).select_related("grant").order_by("-id"))
    taken = {use.grant_id: use.amount_micros for use in uses}
    for use in GrantUse.objects.filter(entry__reverses=original):
        taken[use.grant_id] += use.amount_micros
    for instead in Grant.objects.filter(entry__reverses=original):
        if instead.source_grant_id is not None:
            taken[instead.source_grant_id] -= instead.amount_micros
    return [(use.grant, taken[use.grant_id]) for use in uses]


def _goodwill(
    account_id: int, entry: Entry, amount: int, *, instead_of: Grant | None = None, until: datetime | None = None
) -> None:
    grants.Terms(Grant.Kind.GOODWILL, until).lot(account_id, entry, amount, source_grant=instead_of).save()
    expiry.note(account_id, until)


def _grace() -> timedelta:
    return timedelta(days=settings.REFUND_GRACE_DAYS)


def _take_back(
    original: Entry,
    account: Account,
    amount_micros: int,
    actor: Actor,
    idempotency_key: str,
    reason: str,
    external_id: str | None,
) -> Entry:
    # Debt first and above what may be needed, so that no statement in between breaks the account's CHECK.
    balances.change_debt(account.pk, amount_micros)
    side = balances.post(account.pk, posted=-amount_micros, allocated=-amount_micros)
    entry = Entry.objects.create(
        kind=Entry.Kind.TAKE_BACK,
        debit_account=account,
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
    grants.burn(
        account.pk,
        entry.pk,
        amount_micros,
        at=account.asked_at,  # type: ignore[attr-defined]
        spare_micros=account.held_micros,
        before=original,
    )
    balances.change_debt(account.pk, -amount_micros)
    return entry


def adjust(team: Team, *, amount_micros: int, actor: Actor, key: str, reason: str) -> Entry:
    """Take credits out of a wallet by an operator's decision. More credits are a grant, not an adjustment.

    Raises: InsufficientCredits when less can be spent, IdempotencyConflict, InvalidRequest.
    """
    balances.require_amount(amount_micros)
    with transaction.atomic():
        wallet_id = accounts.wallet_id(team)
        # A twin waits here, and then finds the first.
        wallet = wallets.locked_account(wallet_id)
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
        grants.burn(wallet_id, entry.pk, amount_micros, at=wallet.asked_at)  # type: ignore[attr-defined]
        return entry
