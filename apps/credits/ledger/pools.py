"""An organization's pool: what it allocates to wallets of its teams, and takes back of it. Amounts are micros.

Both sides of such an entry are owned, so it has two numbers and two balances. Both accounts are locked, by id.
"""

from collections.abc import Callable

from django.db import transaction
from django.db.models import F, Q

from apps.core.actors import Actor
from apps.credits.errors import PoolTooSmall, ReclaimExceedsAllocation
from apps.credits.ledger import accounts, balances, entries, expiry, grants, wallets
from apps.credits.models import Account, Entry, Grant, GrantUse
from apps.teams.models import Team


def allocate(team: Team, *, amount_micros: int, actor: Actor, key: str, reason: str = "") -> Entry:
    """Move credits from the pool of a team's organization to its general wallet, in lots of the same kind, priority,
    expiry and price; the wallet's debt is paid first.

    Raises: PoolTooSmall when the pool has less, IdempotencyConflict, InvalidRequest.
    """
    return _move(Entry.Kind.ALLOCATE, team, amount_micros, actor, key, reason, _allocated)


def reclaim(team: Team, *, amount_micros: int, actor: Actor, key: str, reason: str = "") -> Entry:
    """Move credits that came from the pool back to its lots, those first that would be spent last.

    Raises: ReclaimExceedsAllocation when less of them is left and free of holds, IdempotencyConflict, InvalidRequest.
    """
    return _move(Entry.Kind.RECLAIM, team, amount_micros, actor, key, reason, _reclaimed)


def _move(
    kind: Entry.Kind,
    team: Team,
    amount_micros: int,
    actor: Actor,
    key: str,
    reason: str,
    move: Callable[[Account, Account, int, Entry], None],
) -> Entry:
    balances.require_amount(amount_micros)
    with transaction.atomic():
        pool_id, wallet_id = accounts.pool_id(team.organization), accounts.wallet_id(team)
        # A twin waits here, and then finds the first.
        balances.lock(pool_id, wallet_id)
        pool, wallet = wallets.locked_account(pool_id), wallets.locked_account(wallet_id)
        idempotency_key = f"{kind}:{team.team_id}:{key}"
        first = entries.replayed(idempotency_key, kind=kind, account_id=wallet_id, amount_micros=amount_micros)
        if first is not None:
            return first
        given, taking = (pool, wallet) if kind == Entry.Kind.ALLOCATE else (wallet, pool)
        _require_free(kind, given, pool, team, amount_micros)
        taken = balances.post(given.pk, posted=-amount_micros, allocated=-amount_micros)
        added = balances.post(taking.pk, posted=amount_micros, allocated=amount_micros)
        entry = Entry.objects.create(
            kind=kind,
            debit_account=given,
            credit_account=taking,
            amount_micros=amount_micros,
            debit_seq=taken.seq,
            debit_balance_micros=taken.posted,
            credit_seq=added.seq,
            credit_balance_micros=added.posted,
            source=f"organization:{team.organization.organization_id}",
            actor=str(actor),
            reason=reason,
            idempotency_key=idempotency_key,
        )
        move(pool, wallet, amount_micros, entry)
        return entry


def _require_free(kind: Entry.Kind, given: Account, pool: Account, team: Team, amount_micros: int) -> None:
    """Neither goes on credit, and holds keep what they need."""
    free = max(0, given.posted_micros - given.held_micros)
    if kind == Entry.Kind.ALLOCATE:
        if amount_micros > free:
            raise PoolTooSmall(pool_micros=free, needed_micros=amount_micros)
        return
    free = min(free, sum(lot.remaining_micros for lot in _from_pool(given, pool)))
    if amount_micros > free:
        raise ReclaimExceedsAllocation(reclaimable_micros=free, needed_micros=amount_micros, id=team.team_id)


def _from_pool(wallet: Account, pool: Account) -> list[Grant]:
    """The wallet's lots that came from the pool and have something left, in burn order. Of what has expired only
    what open holds may burn is left, and that is theirs."""
    asked_at = wallet.asked_at  # type: ignore[attr-defined]
    return list(
        Grant.objects.filter(account=wallet, source_grant__account=pool, remaining_micros__gt=0)
        .filter(Q(expires_at__isnull=True) | Q(expires_at__gt=asked_at))
        .select_related("source_grant")
    )


def _allocated(pool: Account, wallet: Account, amount_micros: int, entry: Entry) -> None:
    uses, short = grants.to_burn(pool.pk, amount_micros, at=pool.asked_at)  # type: ignore[attr-defined]
    grants.record(pool.pk, entry.pk, uses, short)
    sources = Grant.objects.in_bulk([use.lot_id for use in uses])
    lots = []
    for use in uses:
        source = sources[use.lot_id]
        terms = grants.Terms(
            Grant.Kind(source.kind), source.expires_at, source.priority, source.price_nanousd_per_credit
        )
        lots.append(terms.lot(wallet.pk, entry, use.amount_micros, source_grant=source))
    grants.add_lots(wallet.pk, entry, lots, debt_micros=wallet.debt_micros)


def _reclaimed(pool: Account, wallet: Account, amount_micros: int, entry: Entry) -> None:
    # The pool's debt is paid first, as by a grant.
    paid = min(pool.debt_micros, amount_micros)
    if paid:
        balances.change_debt(pool.pk, -paid)
    left, given_back = amount_micros, amount_micros - paid
    returned: dict[Grant, int] = {}
    for lot in reversed(_from_pool(wallet, pool)):
        used = min(lot.remaining_micros, left)
        if used == 0:
            break
        left -= used
        grants.record(wallet.pk, entry.pk, [grants.Use(lot.pk, used)], 0)
        assert lot.source_grant is not None
        returned[lot.source_grant] = returned.get(lot.source_grant, 0) + used
    for source, amount in returned.items():
        back = min(amount, given_back)
        if back:
            given_back -= back
            Grant.objects.filter(pk=source.pk).update(remaining_micros=F("remaining_micros") + back)
            GrantUse.objects.create(entry=entry, grant=source, amount_micros=-back)
            expiry.note(pool.pk, source.expires_at)
