"""How far below zero a wallet may be spent."""

from django.db import transaction

from apps.core.money import exact_credits
from apps.credits.errors import CreditLineInUse
from apps.credits.ledger import accounts, balances, wallets
from apps.credits.models import Account
from apps.teams.models import Team


def set_credit_line(team: Team, *, amount_micros: int) -> int:
    """Set the credit line of a team's general wallet, in micros. Returns what it was.

    Raises: CreditLineInUse when that is less than what is spent and held of it, InvalidRequest.
    """
    balances.require_amount(amount_micros, least=0)
    with transaction.atomic():
        wallet = wallets.locked_account(accounts.wallet_id(team))
        before = wallet.credit_line_micros
        # A take-back can leave a wallet further below zero than its line; then the line stays, or grows.
        used = min(before, max(0, wallet.held_micros - wallet.posted_micros))
        if amount_micros < used:
            raise CreditLineInUse(
                f"The credit line cannot be less than what is spent and held of it: {exact_credits(used)} credits.",
                used_micros=used,
            )
        Account.objects.filter(pk=wallet.pk).update(credit_line_micros=amount_micros)
    return before
