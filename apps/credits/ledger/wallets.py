"""The wallets that a job may spend from, when there is more to it than one statement: restricted ones before the
general one, each without what has expired. Amounts are micros."""

from collections.abc import Iterable, Sequence

from django.db.models.functions import Now

from apps.credits.ledger import accounts, balances, expiry
from apps.credits.models import Account
from apps.teams.models import Team


def locked(team: Team, job_type: str) -> list[Account]:
    """The team's wallets that a job of this type may spend from, in the order of spending, locked by id.

    Those of the fewest job types first, the general one last. What has expired of them is posted before.
    """
    general = accounts.wallet_id(team)
    ids = {general, *_restricted_to(team, job_type)}
    balances.lock(*ids)
    found = _with_dues(ids)
    due = [wallet.pk for wallet in found if wallet.is_due]  # type: ignore[attr-defined]
    for account_id in due:
        expiry.settle(account_id)
    return sorted(
        _with_dues(ids) if due else found,
        key=lambda wallet: (wallet.pk == general, wallet.restriction.count(","), wallet.pk),
    )


def locked_account(account_id: int) -> Account:
    """One account under its lock, without what has expired of it; `asked_at` is the database's clock."""
    balances.lock(account_id)
    (found,) = _with_dues([account_id])
    if not found.is_due:  # type: ignore[attr-defined]
        return found
    expiry.settle(account_id)
    return _with_dues([account_id])[0]


def available(wallet: Account) -> int:
    """What can be spent of it, on credit too; below zero after a take-back."""
    return wallet.posted_micros - wallet.held_micros + wallet.credit_line_micros


def shares(amount_micros: int, most: Iterable[int]) -> tuple[list[int], int]:
    """An amount divided among those who can bear so much each, the first before the others; and what none can."""
    divided = []
    for each in most:
        share = min(amount_micros, max(0, each))
        divided.append(share)
        amount_micros -= share
    return divided, amount_micros


def _restricted_to(team: Team, job_type: str) -> list[int]:
    restricted = Account.objects.filter(team=team, kind=Account.Kind.WALLET).exclude(restriction="")
    rows = restricted.values_list("pk", "restriction")
    return [pk for pk, restriction in rows if job_type in accounts.job_types_of(restriction)]


def _with_dues(ids: Iterable[int]) -> Sequence[Account]:
    return list(Account.objects.filter(pk__in=ids).annotate(asked_at=Now(), is_due=balances.is_due()).order_by("pk"))
