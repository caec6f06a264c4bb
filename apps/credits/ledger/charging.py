"""The charge of a job: once, out of its hold and what else can be spent."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import BigIntegerField, Value

from apps.core.actors import SYSTEM, Actor
from apps.core.db import joined
from apps.core.errors import IdempotencyConflict
from apps.core.ids import new_id
from apps.core.prepared import Insert, Param, Select, Together, columns, param
from apps.credits.ledger import balances, grants, holds, wallets
from apps.credits.models import REVENUE_ID, Account, Entry, Hold
from apps.teams.models import Team


@dataclass(frozen=True, slots=True)
class Charge:
    """What a charge came to: what was posted (of several wallets, `entry_id` is the general one's if it paid) and
    what could not be taken."""

    entry_id: UUID | None
    charged_micros: int
    uncollected_micros: int


# With their accounts locked by id, the general wallet's first: from there on this is the only change of their
# balances, holds and grants.
_TEAM_HOLDS: Select[Hold] = Select(
    lambda: (
        Hold.objects.filter(job=param("job", Hold), account__team=Param("team", BigIntegerField()))
        .select_for_update(of=("account",))
        .select_related("account")
        .annotate(is_due=balances.is_due("account__"))
        .order_by("account_id")
        .only(
            "state",
            "opened_at",
            "account__posted_micros",
            "account__held_micros",
            "account__credit_line_micros",
            "account__seq",
            "account__restriction",
            "account__has_restricted",
        )
    )
)
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

_CHARGE = Together(balances.POST, _INSERT_CHARGE, grants.USE_LOT, grants.INSERT_USE)
_CHARGE_WITHOUT_LOT = Together(balances.POST, _INSERT_CHARGE)


def charge(
    team: Team, *, job: str, amount_micros: int, actor: Actor = SYSTEM, reason: str = "", job_type: str = ""
) -> Charge:
    """Charge a job once, resolving what it holds: one entry a wallet, restricted wallets first.

    More than was held is taken from what can be spent; what is not there stays uncollected. A second charge of
    the job changes nothing and returns the first. An amount of 0 only releases the hold.
    Raises: IdempotencyConflict when the job is another team's.
    """
    balances.require_amount(amount_micros, least=0)
    with joined():
        found = _TEAM_HOLDS.all(job=job, team=team.pk)
        held = found[0] if found else None
        if held is not None and held.state != Hold.State.OPEN:
            return _charged_before(team, job, amount_micros)
        if held is None or held.account.has_restricted or held.is_due:  # type: ignore[attr-defined]
            return _charge_wallets(team, job, amount_micros, str(actor), reason, job_type)
        # What it holds is read as it is closed: it may have been extended, or closed, before the lock was ours.
        held_micros = holds.close(held, Hold.State.CHARGED)
        if held_micros is None:
            return _charged_before(team, job, amount_micros)
        # A hold that is older than a take-back is still the job's to spend.
        take = min(amount_micros, max(wallets.available(held.account) + held_micros, held_micros))
        if take == 0:
            balances.post(held.account_id, held=-held_micros)
            return Charge(None, 0, amount_micros)
        entry_id = _post(held.account, job, held_micros, take, held.opened_at, str(actor), reason)
        return Charge(entry_id, take, amount_micros - take)


def _charge_wallets(team: Team, job: str, amount_micros: int, actor: str, reason: str, job_type: str) -> Charge:
    """The charge of a job that held nothing, holds of several wallets, or meets credits that have expired."""
    spending = wallets.locked(team, job_type)
    general = spending[-1]
    held = {each.account_id: each for each in Hold.objects.filter(job=job, account__team=team)}
    if Entry.objects.filter(job=job, kind=Entry.Kind.CHARGE).exists():
        return _charged_before(team, job, amount_micros)
    if general.pk not in held:
        # A job that held nothing leaves a hold too: closed, so that it is charged once and holds nothing later.
        none = holds.insert(general.pk, job, 0)
        assert none is not None, "its account's lock is ours"
        held[general.pk] = none
        none.opened_at = general.asked_at  # type: ignore[attr-defined]
    elif held[general.pk].state != Hold.State.OPEN:
        return _charged_before(team, job, amount_micros)
    closed = {pk: holds.close(each, Hold.State.CHARGED) or 0 for pk, each in held.items()}
    most = [max(wallets.available(each) + closed.get(each.pk, 0), closed.get(each.pk, 0)) for each in spending]
    takes, uncollected = wallets.shares(amount_micros, most)
    posted: dict[int, UUID] = {}
    for wallet, take in zip(spending, takes, strict=True):
        held_micros = closed.get(wallet.pk, 0)
        if take:
            opened_at = held[wallet.pk].opened_at if wallet.pk in held else wallet.asked_at  # type: ignore[attr-defined]
            posted[wallet.pk] = _post(wallet, job, held_micros, take, opened_at, actor, reason)
        elif held_micros:
            balances.post(wallet.pk, held=-held_micros)
    return Charge(posted[min(posted)] if posted else None, sum(takes), uncollected)


def _post(
    wallet: Account, job: str, held_micros: int, take: int, opened_at: datetime, actor: str, reason: str
) -> UUID:
    """Post what a job takes of a locked wallet, whose hold of it (opened then) is closed. The entry's id."""
    entry_id = new_id()
    uses, short = grants.to_burn(wallet.pk, take, at=opened_at)
    post = {"id": wallet.pk, "held": -held_micros, "posted": -take, "used": take}
    entry = {
        "id": entry_id,
        "debit_account": wallet.pk,
        "amount_micros": take,
        "debit_seq": wallet.seq + 1,
        "debit_balance_micros": wallet.posted_micros - take,
        "job": job,
        "source": f"job:{job}",
        "actor": actor,
        "reason": reason,
        "idempotency_key": f"charge:job:{job}:{wallet.pk}" if wallet.restriction else f"charge:job:{job}",
    }
    if uses:
        _CHARGE.run(post, entry, *uses[0].parameters(entry_id))
    else:
        _CHARGE_WITHOUT_LOT.run(post, entry)
    grants.record(wallet.pk, entry_id, uses[1:], short)
    return entry_id


def _charged_before(team: Team, job: str, amount_micros: int) -> Charge:
    """The charge that was posted first; none when the hold was released instead."""
    charges = Entry.objects.filter(job=job, kind=Entry.Kind.CHARGE).select_related("debit_account")
    first = list(charges.order_by("debit_account"))
    if any(each.debit_account.team_id != team.pk for each in first):
        raise IdempotencyConflict(f"The operation 'charge:job:{job}' was done before with other content.")
    charged = sum(each.amount_micros for each in first)
    return Charge(first[0].pk if first else None, charged, max(0, amount_micros - charged))
