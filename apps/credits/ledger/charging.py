"""The charge of a job: once, out of its hold and what else can be spent."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import BigIntegerField, Value

from apps.core.actors import SYSTEM, Actor
from apps.core.db import joined
from apps.core.errors import IdempotencyConflict
from apps.core.ids import new_id
from apps.core.prepared import Insert, Param, Select, Together, columns, param
from apps.credits.ledger import accounts, balances, grants, holds
from apps.credits.models import REVENUE_ID, Entry, Hold
from apps.teams.models import Team


@dataclass(frozen=True, slots=True)
class Charge:
    """What a charge came to: what was posted, what the hold gave back, and what could not be taken."""

    entry_id: UUID | None
    charged_micros: int
    uncollected_micros: int


# With its account locked: from there on this is the only change of its balance, holds and grants.
_TEAM_HOLD: Select[Hold] = Select(
    lambda: (
        Hold.objects.filter(job=param("job", Hold), account__team=Param("team", BigIntegerField()))
        .select_for_update(of=("account",))
        .select_related("account")
        .only(
            "state",
            "account__posted_micros",
            "account__held_micros",
            "account__credit_line_micros",
            "account__seq",
        )[:1]
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


def charge(team: Team, *, job: str, amount_micros: int, actor: Actor = SYSTEM, reason: str = "") -> Charge:
    """Charge a job once, resolving its hold.

    More than was held is taken from what can be spent; what is not there stays uncollected. A second charge of
    the job changes nothing and returns the first. An amount of 0 only releases the hold.
    Raises: IdempotencyConflict when the job is another team's.
    """
    balances.require_amount(amount_micros, least=0)
    with joined():
        idempotency_key = f"charge:job:{job}"
        held = _TEAM_HOLD.first(job=job, team=team.pk)
        if held is not None and held.state != Hold.State.OPEN:
            return _charged_before(team, idempotency_key, amount_micros)
        if held is not None:
            account = held.account
        else:
            account = balances.locked(accounts.wallet_id(team))
            if Entry.objects.filter(idempotency_key=idempotency_key).exists():
                return _charged_before(team, idempotency_key, amount_micros)
            # A job that held nothing leaves a hold too: closed, so that it is charged once and holds nothing later.
            held = holds.insert(account.pk, job, 0) or Hold.objects.get(account=account, job=job)
        # What it holds is read as it is closed: it may have been extended, or closed, before the lock was ours.
        held_micros = holds.close(held, Hold.State.CHARGED)
        if held_micros is None:
            return _charged_before(team, idempotency_key, amount_micros)
        available = account.posted_micros - account.held_micros + account.credit_line_micros + held_micros
        # A hold that is older than a take-back is still the job's to spend.
        take = min(amount_micros, max(available, held_micros))
        if take == 0:
            balances.post(account.pk, held=-held_micros)
            return Charge(None, 0, amount_micros)
        entry_id = new_id()
        uses, short = grants.to_burn(account.pk, take)
        post = {"id": account.pk, "held": -held_micros, "posted": -take, "used": take}
        entry = {
            "id": entry_id,
            "debit_account": account.pk,
            "amount_micros": take,
            "debit_seq": account.seq + 1,
            "debit_balance_micros": account.posted_micros - take,
            "job": job,
            "source": f"job:{job}",
            "actor": str(actor),
            "reason": reason,
            "idempotency_key": idempotency_key,
        }
        if uses:
            _CHARGE.run(post, entry, *uses[0].parameters(entry_id))
            grants.record(account.pk, entry_id, uses[1:], short)
        else:
            _CHARGE_WITHOUT_LOT.run(post, entry)
            grants.record(account.pk, entry_id, [], short)
        return Charge(entry_id, take, amount_micros - take)


def _charged_before(team: Team, idempotency_key: str, amount_micros: int) -> Charge:
    """The charge that was posted first; none when the hold was released instead."""
    first = Entry.objects.filter(idempotency_key=idempotency_key).select_related("debit_account").first()
    if first is None:
        return Charge(None, 0, amount_micros)
    if first.debit_account.team_id != team.pk:
        raise IdempotencyConflict(f"The operation '{idempotency_key}' was done before with other content.")
    return Charge(first.pk, first.amount_micros, max(0, amount_micros - first.amount_micros))
