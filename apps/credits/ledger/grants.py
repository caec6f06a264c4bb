"""Lots of credits: given by a grant, burnt in their order by whatever takes credits out."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import BigIntegerField, F

from apps.core.actors import Actor
from apps.core.prepared import Insert, Param, Select, Together, Update, columns, param
from apps.credits.ledger import accounts, balances, entries
from apps.credits.models import ISSUED_ID, Entry, Grant, GrantUse
from apps.teams.models import Team

PRIORITIES = {
    Grant.Kind.PROMOTIONAL: 10,
    Grant.Kind.GOODWILL: 20,
    Grant.Kind.SUBSCRIPTION: 50,
    Grant.Kind.PAID: 50,
}

_LOTS: Select[Grant] = Select(
    lambda: Grant.objects.filter(account=param("account", Grant), remaining_micros__gt=0).only("remaining_micros")
)
USE_LOT = Update(
    lambda: Grant.objects.filter(pk=param("id", Grant)),
    lambda: {"remaining_micros": F("remaining_micros") - Param("used", BigIntegerField())},
)
INSERT_USE = Insert(GrantUse, lambda: columns(GrantUse, "entry", "grant", "amount_micros"))
_USE = Together(USE_LOT, INSERT_USE)


@dataclass(frozen=True, slots=True)
class Use:
    """What an entry takes of a lot, in micros."""

    lot_id: UUID
    amount_micros: int

    def parameters(self, entry_id: UUID) -> tuple[dict[str, Any], dict[str, Any]]:
        """Those of USE_LOT and of INSERT_USE."""
        return (
            {"id": self.lot_id, "used": self.amount_micros},
            {"entry": entry_id, "grant": self.lot_id, "amount_micros": self.amount_micros},
        )


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
    balances.require_amount(amount_micros)
    with transaction.atomic():
        idempotency_key = f"grant:{team.team_id}:{key}"
        wallet_id = accounts.wallet_id(team)
        first = entries.replayed(
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
                side = balances.post(wallet_id, posted=amount_micros, allocated=amount_micros)
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
            first = entries.replayed(
                idempotency_key,
                kind=Entry.Kind.GRANT,
                account_id=wallet_id,
                amount_micros=amount_micros,
                external_id=external_id,
                lot_kind=kind,
            )
            if first is not None:
                return first
            entries.refuse_used_external_id(external_id)
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
            balances.change_debt(wallet_id, -paid_debt)
        return entry


def to_burn(
    account_id: int, amount_micros: int, *, spare_micros: int = 0, before: Entry | None = None
) -> tuple[list[Use], int]:
    """What an amount takes of the account's grants, in burn order, and what they lack.

    The caller has the account's row lock, so nobody else changes its grants. `spare_micros` of them stay. The lots
    that the entry `before` made go before all others.
    """
    lots = _LOTS.all(account=account_id)
    if before is not None:
        own = set(Grant.objects.filter(entry=before).values_list("pk", flat=True))
        lots.sort(key=lambda lot: lot.pk not in own)
    left = min(amount_micros, max(0, sum(lot.remaining_micros for lot in lots) - spare_micros))
    short = amount_micros - left
    uses = []
    for lot in lots:
        if left == 0:
            break
        used = min(lot.remaining_micros, left)
        left -= used
        uses.append(Use(lot.pk, used))
    return uses, short


def burn(
    account_id: int, entry_id: UUID, amount_micros: int, *, spare_micros: int = 0, before: Entry | None = None
) -> None:
    """Take an entry's amount from the account's grants, see `to_burn`; what they lack becomes debt."""
    uses, short = to_burn(account_id, amount_micros, spare_micros=spare_micros, before=before)
    record(account_id, entry_id, uses, short)


def record(account_id: int, entry_id: UUID, uses: Iterable[Use], short_micros: int) -> None:
    """Write what an entry takes of lots, and what it lacks as debt."""
    for use in uses:
        _USE.run(*use.parameters(entry_id))
    if short_micros:
        balances.change_debt(account_id, short_micros)
