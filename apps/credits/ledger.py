"""The only writer of accounts, entries, holds and grants. Amounts are micros of a credit, above zero.

Each function is one short transaction (or joins the caller's) and can be repeated: the same idempotency key
returns the first entry. Raw SQL is allowed in this module alone: Django's update() cannot return the row it
changed, and the guard, the change and the new balance must be one statement. See docs/ledger.md.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import BigIntegerField, F, Sum, Value

from apps.core.actors import SYSTEM, Actor
from apps.core.errors import IdempotencyConflict, InvalidRequest
from apps.core.ids import new_id
from apps.core.money import MAX_CREDITS, MICROS, whole_credits
from apps.core.prepared import Insert, Param, Select, Update, columns, param
from apps.credits.errors import EntryNotReversible, HoldClosed, InsufficientCredits, ReversalExceedsEntry
from apps.credits.models import ISSUED_ID, REVENUE_ID, SYSTEM_ACCOUNTS, Account, Entry, Grant, GrantUse, Hold
from apps.teams.models import Team

PRIORITIES = {
    Grant.Kind.PROMOTIONAL: 10,
    Grant.Kind.GOODWILL: 20,
    Grant.Kind.SUBSCRIPTION: 50,
    Grant.Kind.PAID: 50,
}


@dataclass(frozen=True, slots=True)
class Charge:
    """What a charge came to: what was posted, what the hold gave back, and what could not be taken."""

    entry_id: UUID | None
    charged_micros: int
    uncollected_micros: int


@dataclass(frozen=True, slots=True)
class _Side:
    """A balance after a change: `seq` numbers the entry on this account."""

    posted: int
    held: int
    seq: int
    debt: int


_LOCKED: Select[Account] = Select(
    lambda: (
        Account.objects.select_for_update()
        .filter(pk=param("id", Account))
        .only("posted_micros", "held_micros", "credit_line_micros")
    )
)
_TEAM_HOLD: Select[Hold] = Select(
    lambda: Hold.objects.filter(job=param("job", Hold), account__team=Param("team", BigIntegerField()))[:1]
)
_LOTS: Select[Grant] = Select(
    lambda: Grant.objects.filter(account=param("account", Grant), remaining_micros__gt=0).only("remaining_micros")
)
_USE_LOT = Update(
    lambda: Grant.objects.filter(pk=param("id", Grant)),
    lambda: {"remaining_micros": F("remaining_micros") - Param("used", BigIntegerField())},
)
_INSERT_USE = Insert(GrantUse, lambda: columns(GrantUse, "entry", "grant", "amount_micros"))
_INSERT_CHARGE = Insert(
    Entry,
    lambda: {
        **columns(
            Entry,
            "id",
            "debit_account",
            "amount_micros",
            "debit_seq",
            "debit_balance_micros",
            "job",
            "source",
            "actor",
            "reason",
            "idempotency_key",
        ),
        "kind": Value(Entry.Kind.CHARGE),
        "credit_account": Value(REVENUE_ID),
    },
)


# --- Credits in --------------------------------------------------------------------------------------------


def grant(
    team: Team,
    *,
    amount_micros: int,
    actor: Actor,
    key: str,
    kind: Grant.Kind = Grant.Kind.PAID,
    reason: str = "",
    source: str = "",
    external_id: str | None = None,
    expires_at: datetime | None = None,
    price_nanousd_per_credit: int | None = None,
) -> Entry:
    """Give a team a lot of credits. Pays the wallet's debt first, recorded like a charge of that lot.

    `key` names the operation for ever: the same key with the same content returns the first entry.
    Raises: IdempotencyConflict for the same key (or external id) with other content, InvalidRequest.
    """
    _require_amount(amount_micros)
    with transaction.atomic():
        idempotency_key = f"grant:{team.team_id}:{key}"
        wallet_id = _open_wallet(team)
        first = _replayed(
            idempotency_key,
            kind=Entry.Kind.GRANT,
            account_id=wallet_id,
            amount_micros=amount_micros,
            external_id=external_id,
            lot_kind=kind,
        )
        if first is not None:
            return first
        try:
            with transaction.atomic():
                side = _post(wallet_id, posted=amount_micros, allocated=amount_micros)
                entry = Entry.objects.create(
                    kind=Entry.Kind.GRANT,
                    debit_account_id=ISSUED_ID,
                    credit_account_id=wallet_id,
                    amount_micros=amount_micros,
                    credit_seq=side.seq,
                    credit_balance_micros=side.posted,
                    source=source,
                    actor=str(actor),
                    reason=reason,
                    idempotency_key=idempotency_key,
                    external_id=external_id,
                )
        except IntegrityError:
            # A twin was faster; else the external id is another entry's.
            first = _replayed(
                idempotency_key,
                kind=Entry.Kind.GRANT,
                account_id=wallet_id,
                amount_micros=amount_micros,
                external_id=external_id,
                lot_kind=kind,
            )
            if first is not None:
                return first
            _refuse_used_external_id(external_id)
            raise
        paid_debt = min(side.debt, amount_micros)
        lot = Grant.objects.create(
            account_id=wallet_id,
            entry=entry,
            kind=kind,
            priority=PRIORITIES[kind],
            amount_micros=amount_micros,
            remaining_micros=amount_micros - paid_debt,
            expires_at=expires_at,
            price_nanousd_per_credit=price_nanousd_per_credit,
        )
        if paid_debt:
            GrantUse.objects.create(entry=entry, grant=lot, amount_micros=paid_debt)
            _change_debt(wallet_id, -paid_debt)
        return entry


def _open_wallet(team: Team) -> int:
    """The id of the team's general wallet, made by its first grant."""
    wallet_id = Account.objects.filter(team=team, kind=Account.Kind.WALLET, restriction="").values_list("id").first()
    if wallet_id is not None:
        return int(wallet_id[0])
    wallet, _ = Account.objects.get_or_create(
        team=team,
        kind=Account.Kind.WALLET,
        restriction="",
        defaults={"organization_id": team.organization_id},
    )
    return wallet.pk


def open_wallet(team: Team) -> int:
    """Make the team's wallet, empty, so that its balance can be read before its first grant."""
    with transaction.atomic():
        return _open_wallet(team)


def lock_wallet(team: Team) -> None:
    """Take the wallet's row lock inside the caller's transaction, to decide on what its balance is."""
    _lock(_open_wallet(team))


# --- Holds -------------------------------------------------------------------------------------------------


def hold(team: Team, *, job: str, amount_micros: int) -> Hold:
    """Reserve credits for a job that has no hold yet. A repeat returns the job's hold unchanged.

    Raises: InsufficientCredits when less can be spent, HoldClosed after a charge or release; nothing is held then.
    """
    _require_amount(amount_micros, least=0)
    with transaction.atomic():
        wallet = _reserve(team, amount_micros)
        if wallet is None:
            # A twin may have taken the last credits for this same job a moment ago.
            first = Hold.objects.filter(job=job, account__team=team).first()
            if first is not None:
                return _open(first)
            raise insufficient(team, needed_micros=amount_micros)
        new = _insert_hold(wallet, job, amount_micros)
        if new is not None:
            return new
        first = _open(Hold.objects.get(job=job, account_id=wallet))
        _post(wallet, held=-amount_micros)
        return first


def extend(team: Team, *, job: str, to_micros: int) -> Hold:
    """Make a job's open hold as large as `to_micros`, up or down.

    Raises: InsufficientCredits when the difference cannot be spent, HoldClosed after a charge or release; the hold
    stays as it was.
    """
    _require_amount(to_micros, least=0)
    with transaction.atomic():
        current = Hold.objects.filter(job=job, account__team=team).first()
        if current is None:
            current = hold(team, job=job, amount_micros=to_micros)
            if current.amount_micros == to_micros:
                return current
        # The account before the hold, as everywhere; then the hold is read again: it may have been closed since.
        _lock(current.account_id)
        current = _open(Hold.objects.get(pk=current.pk))
        difference = to_micros - current.amount_micros
        if difference > 0 and _reserve(team, difference) is None:
            raise insufficient(team, needed_micros=difference)
        if difference < 0:
            _post(current.account_id, held=difference)
        if difference:
            current.amount_micros = to_micros
            current.save(update_fields=["amount_micros"])
        return current


def release(*, job: str) -> int:
    """Give back what a job still holds. Returns the micros released, 0 when nothing was held."""
    released = 0
    with transaction.atomic():
        for open_hold in Hold.objects.filter(job=job, state=Hold.State.OPEN).order_by("account_id"):
            _lock(open_hold.account_id)
            amount = _close_hold(open_hold, Hold.State.RELEASED)
            if amount is not None:
                _post(open_hold.account_id, held=-amount)
                released += amount
    return released


def _insert_hold(account_id: int, job: str, amount_micros: int) -> Hold | None:
    """An open hold; None when the job has or had one on this account."""
    new = Hold(account_id=account_id, job=job, amount_micros=amount_micros)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO credits_hold (id, account_id, job, amount_micros, state, opened_at)"
            " VALUES (%s, %s, %s, %s, 'open', CURRENT_TIMESTAMP) ON CONFLICT DO NOTHING",
            [_uuid(new), account_id, job, amount_micros],
        )
        return new if cursor.rowcount == 1 else None


def _open(found: Hold) -> Hold:
    """The hold if it still reserves something: a closed one must not pass for a reservation."""
    if found.state != Hold.State.OPEN:
        raise HoldClosed
    return found


def _reserve(team: Team, amount_micros: int) -> int | None:
    """Raise `held` if that much can be spent. The wallet's id, or None."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE credits_account SET held_micros = held_micros + %s"
            " WHERE team_id = %s AND kind = 'wallet' AND restriction = ''"
            " AND posted_micros - held_micros + credit_line_micros >= %s RETURNING id",
            [amount_micros, team.pk, amount_micros],
        )
        row = cursor.fetchone()
    return int(row[0]) if row else None


def _close_hold(open_hold: Hold, state: Hold.State) -> int | None:
    """Close an open hold once; what it held, or None when somebody closed it before."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE credits_hold SET state = %s, closed_at = CURRENT_TIMESTAMP"
            " WHERE id = %s AND state = 'open' RETURNING amount_micros",
            [state, _uuid(open_hold)],
        )
        row = cursor.fetchone()
    return int(row[0]) if row else None


# --- Charging ----------------------------------------------------------------------------------------------


def charge(team: Team, *, job: str, amount_micros: int, actor: Actor = SYSTEM, reason: str = "") -> Charge:
    """Charge a job once, resolving its hold.

    More than was held is taken from what can be spent; what is not there stays uncollected. A second charge of
    the job changes nothing and returns the first. An amount of 0 only releases the hold.
    Raises: IdempotencyConflict when the job is another team's.
    """
    _require_amount(amount_micros, least=0)
    with transaction.atomic():
        idempotency_key = f"charge:job:{job}"
        held = _TEAM_HOLD.first(job=job, team=team.pk)
        if held is not None and held.state != Hold.State.OPEN:
            return _charged_before(team, idempotency_key, amount_micros)
        account_id = held.account_id if held is not None else _open_wallet(team)
        # From here on the account's lock makes this the only change of its balance, holds and grants.
        account = _LOCKED.first(id=account_id)
        assert account is not None, "accounts are never deleted"
        if held is None:
            if Entry.objects.filter(idempotency_key=idempotency_key).exists():
                return _charged_before(team, idempotency_key, amount_micros)
            # A job that held nothing leaves a hold too: closed, so that it is charged once and holds nothing later.
            held = _insert_hold(account_id, job, 0) or Hold.objects.get(account_id=account_id, job=job)
        # What it holds is read as it is closed: it may have been extended, or closed, before the lock was ours.
        held_micros = _close_hold(held, Hold.State.CHARGED)
        if held_micros is None:
            return _charged_before(team, idempotency_key, amount_micros)
        available = account.posted_micros - account.held_micros + account.credit_line_micros + held_micros
        # A hold that is older than a take-back is still the job's to spend.
        take = min(amount_micros, max(available, held_micros))
        side = _post(account_id, held=-held_micros, posted=-take, used=take)
        if take == 0:
            return Charge(None, 0, amount_micros)
        entry_id = new_id()
        _INSERT_CHARGE.run(
            id=entry_id,
            debit_account=account_id,
            amount_micros=take,
            debit_seq=side.seq,
            debit_balance_micros=side.posted,
            job=job,
            source=f"job:{job}",
            actor=str(actor),
            reason=reason,
            idempotency_key=idempotency_key,
        )
        _burn(account_id, entry_id, take)
        return Charge(entry_id, take, amount_micros - take)


def _charged_before(team: Team, idempotency_key: str, amount_micros: int) -> Charge:
    """The charge that was posted first; none when the hold was released instead."""
    first = Entry.objects.filter(idempotency_key=idempotency_key).select_related("debit_account").first()
    if first is None:
        return Charge(None, 0, amount_micros)
    if first.debit_account.team_id != team.pk:
        raise IdempotencyConflict(f"The operation '{idempotency_key}' was done before with other content.")
    return Charge(first.pk, first.amount_micros, max(0, amount_micros - first.amount_micros))


def _burn(
    account_id: int, entry_id: UUID, amount_micros: int, *, spare_micros: int = 0, before: Entry | None = None
) -> None:
    """Take an entry's amount from the account's grants in burn order; what they lack becomes debt.

    The caller has the account's row lock, so nobody else changes its grants. `spare_micros` of them stay. The lots
    that the entry `before` made go before all others.
    """
    lots = _LOTS.all(account=account_id)
    if before is not None:
        own = set(Grant.objects.filter(entry=before).values_list("pk", flat=True))
        lots.sort(key=lambda lot: lot.pk not in own)
    left = min(amount_micros, max(0, sum(lot.remaining_micros for lot in lots) - spare_micros))
    short = amount_micros - left
    for lot in lots:
        if left == 0:
            break
        used = min(lot.remaining_micros, left)
        left -= used
        _USE_LOT.run(id=lot.pk, used=used)
        _INSERT_USE.run(entry=entry_id, grant=lot.pk, amount_micros=used)
    if short:
        _change_debt(account_id, short)


# --- Corrections -------------------------------------------------------------------------------------------


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
        _lock(account_id)
        first = _replayed(
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
            _refuse_used_external_id(external_id)
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
    side = _post(account_id, posted=amount_micros, used=-amount_micros)
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
        _change_debt(account_id, -paid_debt)
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
            priority=PRIORITIES[Grant.Kind.GOODWILL],
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
    held = _lock(account_id)
    # Debt first and above what may be needed, so that no statement in between breaks the account's CHECK.
    _change_debt(account_id, amount_micros)
    side = _post(account_id, posted=-amount_micros, allocated=-amount_micros)
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
    _burn(account_id, entry.pk, amount_micros, spare_micros=held, before=original)
    _change_debt(account_id, -amount_micros)
    return entry


def adjust(team: Team, *, amount_micros: int, actor: Actor, key: str, reason: str) -> Entry:
    """Take credits out of a wallet by an operator's decision. More credits are a grant, not an adjustment.

    Raises: InsufficientCredits when less can be spent, IdempotencyConflict, InvalidRequest.
    """
    _require_amount(amount_micros)
    with transaction.atomic():
        wallet_id = _open_wallet(team)
        # A twin waits here, and then finds the first.
        _lock(wallet_id)
        idempotency_key = f"adjust:{team.team_id}:{key}"
        first = _replayed(idempotency_key, kind=Entry.Kind.ADJUST, account_id=wallet_id, amount_micros=amount_micros)
        if first is not None:
            return first
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE credits_account SET posted_micros = posted_micros - %s,"
                " allocated_micros = allocated_micros - %s, seq = seq + 1"
                " WHERE id = %s AND posted_micros - held_micros >= %s"
                " RETURNING posted_micros, held_micros, seq, debt_micros",
                [amount_micros, amount_micros, wallet_id, amount_micros],
            )
            row = cursor.fetchone()
        if row is None:
            raise insufficient(team, needed_micros=amount_micros)
        side = _Side(*row)
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
        _burn(wallet_id, entry.pk, amount_micros)
        return entry


# --- Shared ------------------------------------------------------------------------------------------------


def insufficient(team: Team, *, needed_micros: int) -> InsufficientCredits:
    """The refusal for lack of credits, in the wire contract's words, with the exact figures beside it."""
    wallet = Account.objects.filter(team=team, kind=Account.Kind.WALLET, restriction="").first()
    allocated, used, spendable, held = (
        (
            wallet.allocated_micros,
            wallet.used_micros,
            wallet.posted_micros - wallet.held_micros + wallet.credit_line_micros,
            wallet.held_micros,
        )
        if wallet is not None
        else (0, 0, 0, 0)
    )
    needed = -(-needed_micros // 1_000_000)
    return InsufficientCredits(
        f"Insufficient credits. Team has {max(0, whole_credits(spendable))} credits remaining, but {needed} required."
        f" Allocated: {whole_credits(allocated)}, Used: {whole_credits(used)}",
        limit="credits",
        scope="team",
        id=team.team_id,
        needed_micros=needed_micros,
        spendable_micros=spendable,
        held_micros=held,
    )


def _post(account_id: int, *, posted: int = 0, held: int = 0, allocated: int = 0, used: int = 0) -> _Side:
    """Change an account without a guard of its own (the CHECKs still hold) and number the entry, if any."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE credits_account SET posted_micros = posted_micros + %s, held_micros = held_micros + %s,"
            " allocated_micros = allocated_micros + %s, used_micros = used_micros + %s, seq = seq + %s"
            " WHERE id = %s RETURNING posted_micros, held_micros, seq, debt_micros",
            [posted, held, allocated, used, 1 if posted else 0, account_id],
        )
        return _Side(*cursor.fetchone())


def _lock(account_id: int) -> int:
    """Take the account's row lock. Returns what it holds."""
    return int(Account.objects.select_for_update().values_list("held_micros", flat=True).get(pk=account_id))


def _change_debt(account_id: int, by_micros: int) -> None:
    Account.objects.filter(pk=account_id).update(debt_micros=F("debt_micros") + by_micros)


def _require_amount(amount_micros: int, *, least: int = 1) -> None:
    """No negative amount turns a charge into a gift, and none is so large that sums could overflow."""
    if not least <= amount_micros <= MAX_CREDITS * MICROS:
        raise InvalidRequest(f"An amount must be from {least} to {MAX_CREDITS * MICROS} micros, not {amount_micros}.")


def _replayed(
    idempotency_key: str,
    *,
    kind: Entry.Kind,
    account_id: int,
    amount_micros: int,
    external_id: str | None = None,
    lot_kind: Grant.Kind | None = None,
) -> Entry | None:
    """The first entry of this key, or None. Raises: IdempotencyConflict when its content differs."""
    first = Entry.objects.filter(idempotency_key=idempotency_key).first()
    if first is None:
        return None
    if (
        first.kind != kind
        or first.amount_micros != amount_micros
        or first.external_id != external_id
        or account_id not in (first.debit_account_id, first.credit_account_id)
        or (lot_kind is not None and not first.grants.filter(kind=lot_kind).exists())
    ):
        raise IdempotencyConflict(f"The operation '{idempotency_key}' was done before with other content.")
    return first


def _refuse_used_external_id(external_id: str | None) -> None:
    if external_id is not None and Entry.objects.filter(external_id=external_id).exists():
        raise IdempotencyConflict("This external id was used before for another payment.")


def _uuid(row: Hold) -> Any:
    """The primary key as the raw cursor wants it: SQLite stores UUIDs as 32 hex digits."""
    return row.pk if connection.features.has_native_uuid_field else row.pk.hex


def ensure_system_accounts(**_: Any) -> None:
    """Make the system accounts, after every migrate and flush."""
    for account_id, name in SYSTEM_ACCOUNTS.items():
        Account.objects.get_or_create(pk=account_id, defaults={"kind": Account.Kind.SYSTEM, "system_name": name})
