"""What a wallet or a pool had at an instant in the past."""

import re
from datetime import datetime
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.authentication import OperatorView
from apps.api.fields import query_error
from apps.core import clock
from apps.core.clock import iso
from apps.core.money import exact_credits, whole_credits
from apps.credits import history
from apps.credits.errors import NoCreditAccount
from apps.credits.models import Account
from apps.organizations import services as organizations
from apps.teams.models import Team

HELD_UNKNOWN = "Credits were held then. A hold keeps no history, so how many cannot be told."
# A plus that is not escaped arrives as a space.
_LOST_PLUS = re.compile(r"(T\S+) (\d\d:?\d\d)", re.ASCII)
_FIRST_YEAR = 2000


class PoolBalance(OperatorView):
    """GET /api/credits/organizations/{organization_id}/balance?at=: of its pool; now without `at`."""

    def get(self, request: Request, organization_id: str) -> Response:
        organization = organizations.find(organization_id)
        pool = Account.objects.filter(organization=organization, kind=Account.Kind.POOL).first()
        if pool is None:
            raise NoCreditAccount(f"No credit account found for organization '{organization_id}'")
        return Response(
            {"organization_id": organization_id} | (_past(pool, request) if "at" in request.GET else _present(pool))
        )


def of_team(team: Team, request: Request) -> dict[str, Any]:
    """The team's general wallet at the query's `at`. Raises: InvalidBody, NoCreditAccount."""
    wallet = Account.objects.filter(team=team, kind=Account.Kind.WALLET, restriction="").first()
    if wallet is None:
        raise NoCreditAccount(f"No credit account found for team '{team.team_id}'")
    owner = {"team_id": team.team_id, "organization_id": team.organization.organization_id}
    return owner | _past(wallet, request)


def _past(account: Account, request: Request) -> dict[str, Any]:
    at = _instant(request.GET["at"])
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


def _present(account: Account) -> dict[str, Any]:
    spendable = account.posted_micros - account.held_micros
    return {
        "credits_allocated": whole_credits(account.allocated_micros),
        "credits_used": whole_credits(account.used_micros),
        "credits_remaining": whole_credits(spendable),
        "credits_held": whole_credits(account.held_micros),
        "credits_exact": exact_credits(spendable),
    }


def _instant(text: str) -> datetime:
    """Raises: InvalidBody unless it is an instant with its offset, of this century and not to come."""
    try:
        at = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", text))
        if at.tzinfo is None or at.year < _FIRST_YEAR or at > clock.db_now():
            raise ValueError
    except (ValueError, OverflowError):
        raise query_error(
            "at", "Must be an instant in the past with its offset, such as 2026-10-01T00:00:00Z", value=text
        ) from None
    return at
