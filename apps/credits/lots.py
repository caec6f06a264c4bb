"""A team's lots to read: what remains of each, what expires soon, and what is for some job types alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, Q
from django.db.models.functions import Now

from apps.core import clock
from apps.credits import billing, ledger
from apps.credits.billing import Balance
from apps.credits.models import Account, Grant
from apps.organizations.models import Organization
from apps.teams.models import Team

SOON = timedelta(days=30)
_MOST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Lot:
    """A lot with what remains of it, what has expired taken off also before that is posted."""

    grant: Grant
    remaining_micros: int


@dataclass(frozen=True, slots=True)
class Expiring:
    """Micros of credits that expire at an instant; for some job types alone, if any are named."""

    expires_at: datetime
    micros: int
    job_types: list[str]


def wallets_of(team: Team) -> list[Account]:
    """The team's wallets, the general one first."""
    return _with_dues(Account.objects.filter(team=team, kind=Account.Kind.WALLET))


def pool_of(organization: Organization) -> Account | None:
    """The organization's pool, None before its first grant."""
    return next(iter(_with_dues(Account.objects.filter(organization=organization, kind=Account.Kind.POOL))), None)


def lots_of(accounts: list[Account], *, limit: int, offset: int, with_spent: bool) -> tuple[int, list[Lot]]:
    """How many lots the accounts have, and a page of them in the order in which they are spent."""
    due = _due(accounts)
    found = Grant.objects.filter(account__in=accounts).select_related("account", "entry", "source_grant__account")
    if not with_spent:
        found = found.filter(remaining_micros__gt=0)
    ordered = found.order_by("account", "priority", F("expires_at").asc(nulls_last=True), "id")
    page = ordered[offset : offset + limit]
    return found.count(), [Lot(grant, grant.remaining_micros - due.get(grant.pk, 0)) for grant in page]


def expiring_soon(accounts: list[Account]) -> list[Expiring]:
    """What remains of lots that expire within SOON, soonest first. Some of it jobs may hold."""
    if all(account.next_expiry_at is None for account in accounts):
        return []
    found = Grant.objects.filter(
        Q(expires_at__gt=Now(), expires_at__lte=clock.from_now(SOON.total_seconds())),
        account__in=accounts,
        remaining_micros__gt=0,
    ).order_by("expires_at", "account")
    restrictions = {account.pk: account.restriction for account in accounts}
    together: dict[tuple[datetime, int], int] = {}
    for lot in found[:_MOST_SHOWN]:
        assert lot.expires_at is not None
        together[lot.expires_at, lot.account_id] = together.get((lot.expires_at, lot.account_id), 0) + (
            lot.remaining_micros
        )
    return [
        Expiring(expires_at, micros, ledger.job_types_of(restrictions[account_id]))
        for (expires_at, account_id), micros in together.items()
    ]


def restricted(accounts: list[Account]) -> list[tuple[list[str], Balance]]:
    """The balances of wallets that are for some job types alone."""
    return [
        (ledger.job_types_of(account.restriction), billing.balance_of(account))
        for account in accounts
        if account.restriction
    ]


def _with_dues(accounts: "Iterable[Account]") -> list[Account]:
    return list(accounts.annotate(is_due=ledger.is_due()).order_by("pk"))  # type: ignore[attr-defined]


def _due(accounts: list[Account]) -> dict[object, int]:
    due = [account.pk for account in accounts if account.is_due]  # type: ignore[attr-defined]
    return {lot_id: amount for account_id in due for lot_id, amount in ledger.due_on(account_id)}
