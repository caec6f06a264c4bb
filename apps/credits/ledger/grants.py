"""Lots of credits: given by a grant, burnt in their order by whatever takes credits out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import BigIntegerField, F

from apps.core.actors import Actor
from apps.core.prepared import Insert, Param, Select, Together, Update, columns, param
from apps.credits.ledger import accounts, balances, entries, expiry
from apps.credits.models import ISSUED_ID, Entry, Grant, GrantUse
from apps.organizations.models import Organization
from apps.teams.models import Team

PRIORITIES = {
    Grant.Kind.PROMOTIONAL: 10,
    Grant.Kind.GOODWILL: 20,
    Grant.Kind.SUBSCRIPTION: 50,
    Grant.Kind.PAID: 50,
}

_LOTS: Select[Grant] = Select(
    lambda: Grant.objects.filter(account=param("account", Grant), remaining_micros__gt=0).only(
        "remaining_micros", "expires_at"
    )
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


@dataclass(frozen=True, slots=True)
class Terms:
    """What kind of credits are granted: of what kind, how long, and what a credit was sold for."""

    kind: Grant.Kind = Grant.Kind.PAID
    expires_at: datetime | None = None
    priority: int | None = None
    price_nanousd_per_credit: int | None = None

    def lot(self, account_id: int, entry: Entry, amount_micros: int, **more: Any) -> Grant:
        return Grant(
            account_id=account_id,
            entry=entry,
            kind=self.kind,
            priority=PRIORITIES[self.kind] if self.priority is None else self.priority,
            amount_micros=amount_micros,
            remaining_micros=amount_micros,
            expires_at=self.expires_at,
            price_nanousd_per_credit=self.price_nanousd_per_credit,
            **more,
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
    priority: int | None = None,
    price_nanousd_per_credit: int | None = None,
    job_types: Iterable[str] = (),
) -> Entry:
    """Give a team a lot of credits, those for `job_types` alone in a wallet of their own. Pays the wallet's debt
    first, recorded like a charge of that lot.

    `key` names the operation for ever: the same key with the same content returns the first entry.
    Raises: IdempotencyConflict for the same key (or external id) with other content, InvalidRequest.
    """
    balances.require_amount(amount_micros)
    with transaction.atomic():
        return _grant(
            accounts.wallet_id(team, job_types),
            f"grant:{team.team_id}:{key}",
            amount_micros,
            Terms(kind, expires_at, priority, price_nanousd_per_credit),
            external_id,
            {"actor": str(actor), "reason": reason, "source": source},
        )


def grant_to_pool(
    organization: Organization,
    *,
    amount_micros: int,
    actor: Actor,
    key: str,
    kind: Grant.Kind = Grant.Kind.PAID,
    reason: str = "",
    source: str = "",
    external_id: str | None = None,
    expires_at: datetime | None = None,
    priority: int | None = None,
    price_nanousd_per_credit: int | None = None,
) -> Entry:
    """Give an organization's pool a lot of credits, as `grant` does a team."""
    balances.require_amount(amount_micros)
    with transaction.atomic():
        return _grant(
            accounts.pool_id(organization),
            f"grant_pool:{organization.organization_id}:{key}",
            amount_micros,
            Terms(kind, expires_at, priority, price_nanousd_per_credit),
            external_id,
            {"actor": str(actor), "reason": reason, "source": source},
        )


def _grant(
    account_id: int,
    idempotency_key: str,
    amount_micros: int,
    terms: Terms,
    external_id: str | None,
    words: dict[str, str],
) -> Entry:
    def replayed() -> Entry | None:
        return entries.replayed(
            idempotency_key,
            kind=Entry.Kind.GRANT,
            account_id=account_id,
            amount_micros=amount_micros,
            external_id=external_id,
            lot_kind=terms.kind,
        )

    first = replayed()
    if first is not None:
        return first
    try:
        with transaction.atomic():
            side = balances.post(account_id, posted=amount_micros, allocated=amount_micros)
            entry = Entry.objects.create(
                kind=Entry.Kind.GRANT,
                debit_account_id=ISSUED_ID,
                credit_account_id=account_id,
                amount_micros=amount_micros,
                credit_seq=side.seq,
                credit_balance_micros=side.posted,
                idempotency_key=idempotency_key,
                external_id=external_id,
                **words,
            )
    except IntegrityError:
        # A twin was faster; else the external id is another entry's.
        first = replayed()
        if first is not None:
            return first
        entries.refuse_used_external_id(external_id)
        raise
    add_lots(account_id, entry, [terms.lot(account_id, entry, amount_micros)], debt_micros=side.debt)
    return entry


def add_lots(account_id: int, entry: Entry, lots: Sequence[Grant], *, debt_micros: int) -> None:
    """Write the lots that an entry makes on a locked account. They pay its debt first, in their order."""
    left = debt_micros
    for lot in lots:
        paid = min(left, lot.amount_micros)
        left -= paid
        lot.remaining_micros -= paid
        lot.save()
        if paid:
            GrantUse.objects.create(entry=entry, grant=lot, amount_micros=paid)
        if lot.remaining_micros:
            expiry.note(account_id, lot.expires_at)
    if left != debt_micros:
        balances.change_debt(account_id, left - debt_micros)


def to_burn(
    account_id: int, amount_micros: int, *, at: datetime, spare_micros: int = 0, before: Entry | None = None
) -> tuple[list[Use], int]:
    """What an amount takes of the account's grants, in burn order, and what they lack.

    The caller has the account's row lock, so nobody else changes its grants. Lots that had expired `at` that instant
    are left to the older holds for which they were kept, and `spare_micros` of all stay. The lots that the entry
    `before` made go before all others, expired or not.
    """
    lots = _LOTS.all(account=account_id)
    left = min(amount_micros, max(0, sum(lot.remaining_micros for lot in lots) - spare_micros))
    short = amount_micros - left
    own = set(Grant.objects.filter(entry=before).values_list("pk", flat=True)) if before is not None else set()
    lots = [lot for lot in lots if lot.expires_at is None or lot.expires_at > at or lot.pk in own]
    if own:
        lots.sort(key=lambda lot: lot.pk not in own)
    uses = []
    for lot in lots:
        if left == 0:
            break
        used = min(lot.remaining_micros, left)
        left -= used
        uses.append(Use(lot.pk, used))
    return uses, short + left


def burn(
    account_id: int,
    entry_id: UUID,
    amount_micros: int,
    *,
    at: datetime,
    spare_micros: int = 0,
    before: Entry | None = None,
) -> None:
    """Take an entry's amount from the account's grants, see `to_burn`; what they lack becomes debt."""
    uses, short = to_burn(account_id, amount_micros, at=at, spare_micros=spare_micros, before=before)
    record(account_id, entry_id, uses, short)


def record(account_id: int, entry_id: UUID, uses: Iterable[Use], short_micros: int) -> None:
    """Write what an entry takes of lots, and what it lacks as debt."""
    for use in uses:
        _USE.run(*use.parameters(entry_id))
    if short_micros:
        balances.change_debt(account_id, short_micros)
