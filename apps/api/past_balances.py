"""What a wallet or a pool had at an instant in the past."""

from datetime import datetime
from typing import Any

from rest_framework.request import Request

from apps.api.fields import query_error
from apps.api.instants import query_instant
from apps.core import clock
from apps.core.clock import iso
from apps.core.money import exact_credits, whole_credits
from apps.credits import history
from apps.credits.errors import NoCreditAccount
from apps.credits.models import Account
from apps.teams.models import Team

HELD_UNKNOWN = "Credits were held then. A hold keeps no history, so how many cannot be told."
_FIRST_YEAR = 2000


def instant_of(request: Request) -> datetime | None:
    """The query's `at`, None without one. Raises: InvalidBody unless it is of this century and not to come."""
    at = query_instant(request, "at")
    if at is not None and not (at.year >= _FIRST_YEAR and at <= clock.db_now()):
        raise query_error("at", f"Must be an instant from {_FIRST_YEAR} to now", value=request.GET["at"])
    return at


def of_team(team: Team, at: datetime) -> dict[str, Any]:
    """The team's general wallet at that instant. Raises: NoCreditAccount."""
    wallet = Account.objects.filter(team=team, kind=Account.Kind.WALLET, restriction="").first()
    if wallet is None:
        raise NoCreditAccount(f"No credit account found for team '{team.team_id}'")
    return {"team_id": team.team_id, "organization_id": team.organization.organization_id} | of_account(wallet, at)


def of_account(account: Account, at: datetime) -> dict[str, Any]:
    """An account at that instant."""
    standing = history.standing(account, at)
    held, entry = standing.held_micros, standing.entry
    spendable = None if held is None else standing.posted_micros - held
    return {
        "at": iso(at),
        "credits_posted": whole_credits(standing.posted_micros),
        "credits_posted_exact": exact_credits(standing.posted_micros),
        "credits_held": None if held is None else whole_credits(held),
        "credits_remaining": None if spendable is None else whole_credits(spendable),
        "credits_exact": None if spendable is None else exact_credits(spendable),
        "held_unknown_because": HELD_UNKNOWN if held is None else None,
        "last_transaction_id": str(entry.pk) if entry else None,
        "last_transaction_at": iso(entry.created_at) if entry else None,
    }
