"""Teams' wallets and the system accounts: made, locked, and what is said when a wallet has too little."""

from typing import Any

from django.db import transaction

from apps.core.money import whole_credits
from apps.credits.errors import InsufficientCredits
from apps.credits.ledger import balances
from apps.credits.models import SYSTEM_ACCOUNTS, Account
from apps.teams.models import Team


def wallet_id(team: Team) -> int:
    """The id of the team's general wallet, made by its first grant."""
    found = Account.objects.filter(team=team, kind=Account.Kind.WALLET, restriction="").values_list("id").first()
    if found is not None:
        return int(found[0])
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
        return wallet_id(team)


def lock_wallet(team: Team) -> None:
    """Take the wallet's row lock inside the caller's transaction, to decide on what its balance is."""
    balances.lock(wallet_id(team))


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
        # Of what was ever there to spend: used, held and what is needed would have to fit into it.
        used=used,
        held=held,
        allowed=spendable + held + used,
        unit="micros",
        resets_at=None,
        needed_micros=needed_micros,
        spendable_micros=spendable,
        held_micros=held,
    )


def ensure_system_accounts(**_: Any) -> None:
    """Make the system accounts, after every migrate and flush."""
    for account_id, name in SYSTEM_ACCOUNTS.items():
        Account.objects.get_or_create(pk=account_id, defaults={"kind": Account.Kind.SYSTEM, "system_name": name})
