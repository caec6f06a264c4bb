"""What jobs reserve: a hold is opened, made larger or smaller, and closed once. No entry, as no credits move."""

from collections.abc import Sequence
from typing import Any

from django.db import connection, transaction

from apps.core.db import is_postgresql, joined
from apps.core.ids import new_id
from apps.core.prepared import Rows
from apps.credits.errors import HoldClosed
from apps.credits.ledger import accounts, balances, wallets
from apps.credits.models import Account, Hold
from apps.teams.models import Team


def hold(team: Team, *, job: str, amount_micros: int, job_type: str = "") -> Hold:
    """Reserve credits for a job that has no hold yet. A repeat returns the job's hold unchanged.

    With wallets restricted to its type, those give first; the hold on the general wallet, which every such job has,
    is the one returned.
    Raises: InsufficientCredits when less can be spent, HoldClosed after a charge or release; nothing is held then.
    """
    balances.require_amount(amount_micros, least=0)
    with joined():
        if is_postgresql():
            wallet, new = _reserved_and_inserted(team, job, amount_micros)
        else:
            wallet = balances.reserve(team, amount_micros)
            new = insert(wallet, job, amount_micros) if wallet is not None else None
        if wallet is None:
            return _hold_slowly(team, job, amount_micros, job_type)
        return new or _given_back(wallet, job, amount_micros)


def _reserved_and_inserted(team: Team, job: str, amount_micros: int) -> tuple[int | None, Hold | None]:
    """`reserve` and `insert` as one statement, which saves a round trip: the wallet's id if it could bear it, and the
    hold unless the job has or had one."""
    new = Hold(job=job, amount_micros=amount_micros)
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH taken AS ({balances.RESERVE}), opened AS ("  # noqa: S608  (a constant)
            " INSERT INTO credits_hold (id, account_id, job, amount_micros, state, opened_at)"
            " SELECT %s, taken.id, %s, %s, 'open', CURRENT_TIMESTAMP FROM taken ON CONFLICT DO NOTHING RETURNING id"
            ") SELECT taken.id, opened.id FROM taken LEFT JOIN opened ON true",
            [amount_micros, team.pk, amount_micros, new.pk, job, amount_micros],
        )
        row = cursor.fetchone()
    if row is None:
        return None, None
    new.account_id = row[0]
    return new.account_id, new if row[1] is not None else None


def _inserted(account_id: int, job: str, amount_micros: int) -> Hold:
    """The hold of what was reserved; where the job has one already, that is given back."""
    return insert(account_id, job, amount_micros) or _given_back(account_id, job, amount_micros)


def _given_back(account_id: int, job: str, amount_micros: int) -> Hold:
    """The hold that the job had before, after what was reserved for another."""
    balances.post(account_id, held=-amount_micros)
    return _open(Hold.objects.get(job=job, account_id=account_id))


def _hold_slowly(team: Team, job: str, amount_micros: int, job_type: str) -> Hold:
    """What the one statement could not: post what has expired, hold from restricted wallets, or refuse."""
    # A twin may have taken the last credits for this same job a moment ago.
    first = _first_of(team, job)
    if first is not None:
        return _open(first)
    if not balances.is_special(team):
        # Unless what was in the way has been seen to by now.
        wallet = balances.reserve(team, amount_micros)
        if wallet is None:
            raise accounts.insufficient(team, needed_micros=amount_micros)
        return _inserted(wallet, job, amount_micros)
    # A refusal leaves nothing of it.
    with transaction.atomic():
        return _hold_from(wallets.locked(team, job_type), team, job, amount_micros)


def _hold_from(spending: Sequence[Account], team: Team, job: str, amount_micros: int) -> Hold:
    first = _first_of(team, job)
    if first is not None:
        return _open(first)
    shares, short = wallets.shares(amount_micros, map(wallets.available, spending))
    beside = sum(shares[:-1])
    # A wallet below zero holds not even nothing, as in the one statement.
    if short or (beside == 0 and wallets.available(spending[-1]) < 0):
        raise accounts.insufficient(team, needed_micros=amount_micros, beside_micros=beside)
    for wallet, share in zip(spending, shares, strict=True):
        if share or not wallet.restriction:
            balances.post(wallet.pk, held=share)
            opened = _inserted(wallet.pk, job, share)
    return opened


_HOLD_MANY = Rows(
    Hold,
    ("id", "job", "amount_micros"),
    """
    WITH given AS ({rows}),
    needed AS (SELECT team_id, sum(amount_micros)::bigint AS amount FROM given GROUP BY team_id),
    free AS (
        SELECT wallet.id, wallet.team_id, needed.amount FROM credits_account AS wallet JOIN needed USING (team_id)
        WHERE wallet.kind = 'wallet' AND wallet.restriction = ''
            AND wallet.posted_micros - wallet.held_micros + wallet.credit_line_micros >= needed.amount
            AND {is_plain}
        FOR UPDATE OF wallet SKIP LOCKED
    ),
    taken AS (
        UPDATE credits_account SET held_micros = held_micros + free.amount FROM free
        WHERE credits_account.id = free.id RETURNING credits_account.id, credits_account.team_id
    )
    INSERT INTO credits_hold (id, account_id, job, amount_micros, state, opened_at)
    SELECT given.id, taken.id, given.job, given.amount_micros, 'open', CURRENT_TIMESTAMP
    FROM given JOIN taken USING (team_id)
    RETURNING job
    """.replace("{is_plain}", balances.IS_PLAIN),
    more={"team_id": "bigint"},
)


def hold_many(wanted: Sequence[tuple[Team, str, int]]) -> set[str]:
    """Reserve micros for jobs that never had a hold, each given with its team. The jobs that have one now.

    On PostgreSQL, inside the caller's transaction. All of a team's or none: where its wallet cannot bear the sum,
    somebody has it locked just now, or something else is to be decided (expired credits, restricted wallets), `hold`
    says which of them can have theirs. So this waits for no lock.
    Raises: IntegrityError for a job that has had a hold, after which the transaction can only be rolled back.
    """
    for _, _, amount_micros in wanted:
        balances.require_amount(amount_micros, least=0)
    rows = [{"id": new_id(), "job": job, "amount_micros": amount, "team_id": team.pk} for team, job, amount in wanted]
    return {row[0] for row in _HOLD_MANY.run(rows)}


def extend(team: Team, *, job: str, to_micros: int, job_type: str = "") -> Hold:
    """Make what a job holds as much as `to_micros`, up or down.

    Restricted wallets give first and get back last. A hold stays as old as its opening, however it grows.
    Raises: InsufficientCredits when the difference cannot be spent, HoldClosed after a charge or release; the hold
    stays as it was.
    """
    balances.require_amount(to_micros, least=0)
    with transaction.atomic():
        current = _first_of(team, job)
        if current is None:
            current = hold(team, job=job, amount_micros=to_micros, job_type=job_type)
            if current.amount_micros == to_micros:
                return current
        # The account before the hold, as everywhere; then the hold is read again: it may have been closed since.
        balances.lock(current.account_id)
        read = Hold.objects.select_related("account").annotate(is_due=balances.is_due("account__"))
        current = _open(read.get(pk=current.pk))
        difference = to_micros - current.amount_micros
        if current.account.has_restricted or current.is_due:  # type: ignore[attr-defined]
            return _extend_slowly(team, job, to_micros, job_type)
        if difference > 0 and balances.reserve(team, difference) is None:
            raise accounts.insufficient(team, needed_micros=difference)
        if difference < 0:
            balances.post(current.account_id, held=difference)
        if difference:
            current.amount_micros = to_micros
            current.save(update_fields=["amount_micros"])
        return current


def _extend_slowly(team: Team, job: str, to_micros: int, job_type: str) -> Hold:
    spending = wallets.locked(team, job_type)
    held = {each.account_id: each for each in Hold.objects.filter(job=job, account__team=team)}
    had = [held[wallet.pk].amount_micros if wallet.pk in held else 0 for wallet in spending]
    difference = to_micros - sum(had)
    if difference > 0:
        changes, short = wallets.shares(difference, map(wallets.available, spending))
        if short:
            raise accounts.insufficient(team, needed_micros=difference, beside_micros=sum(changes[:-1]))
    else:
        given_back, _ = wallets.shares(-difference, reversed(had))
        changes = [-share for share in reversed(given_back)]
    for wallet, change in zip(spending, changes, strict=True):
        if change:
            balances.post(wallet.pk, held=change)
            if wallet.pk in held:
                held[wallet.pk].amount_micros += change
                held[wallet.pk].save(update_fields=["amount_micros"])
            else:
                insert(wallet.pk, job, change)
    return held[spending[-1].pk]


def release(*, job: str) -> int:
    """Give back what a job still holds. Returns the micros released, 0 when nothing was held."""
    with transaction.atomic():
        still_open = Hold.objects.filter(job=job, state=Hold.State.OPEN).order_by("account_id")
        found = list(still_open)
        # The general wallet's lock is the first; with it, no other hold of the job can come.
        if found and balances.lock(found[0].account_id):
            found = list(still_open.all())
            balances.lock(*(each.account_id for each in found))
        return sum(_released(each) for each in found)


def _released(open_hold: Hold) -> int:
    amount = close(open_hold, Hold.State.RELEASED)
    if amount is None:
        return 0
    balances.post(open_hold.account_id, held=-amount)
    return amount


def insert(account_id: int, job: str, amount_micros: int) -> Hold | None:
    """An open hold; None when the job has or had one on this account."""
    new = Hold(account_id=account_id, job=job, amount_micros=amount_micros)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO credits_hold (id, account_id, job, amount_micros, state, opened_at)"
            " VALUES (%s, %s, %s, %s, 'open', CURRENT_TIMESTAMP) ON CONFLICT DO NOTHING",
            [_uuid(new), account_id, job, amount_micros],
        )
        return new if cursor.rowcount == 1 else None


def close(open_hold: Hold, state: Hold.State) -> int | None:
    """Close an open hold once; what it held, or None when somebody closed it before."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE credits_hold SET state = %s, closed_at = CURRENT_TIMESTAMP"
            " WHERE id = %s AND state = 'open' RETURNING amount_micros",
            [state, _uuid(open_hold)],
        )
        row = cursor.fetchone()
    return int(row[0]) if row else None


def _first_of(team: Team, job: str) -> Hold | None:
    """The job's hold on the general wallet, which has the lowest id of a team's wallets."""
    return Hold.objects.filter(job=job, account__team=team).order_by("account_id").first()


def _open(found: Hold) -> Hold:
    """The hold if it still reserves something: a closed one must not pass for a reservation."""
    if found.state != Hold.State.OPEN:
        raise HoldClosed
    return found


def _uuid(row: Hold) -> Any:
    """The primary key as the raw cursor wants it: SQLite stores UUIDs as 32 hex digits."""
    return row.pk if connection.features.has_native_uuid_field else row.pk.hex
