"""Wallets, pools and the system accounts: made, locked, and what is said when a wallet has too little."""

from collections.abc import Iterable
from typing import Any

from django.db import transaction

from apps.core.errors import InvalidRequest
from apps.core.money import whole_credits
from apps.credits.errors import InsufficientCredits
from apps.credits.ledger import balances
from apps.credits.models import SYSTEM_ACCOUNTS, Account
from apps.organizations.models import Organization
from apps.teams.models import Team

RESTRICTION_MAX = 255


def wallet_id(team: Team, job_types: Iterable[str] = ()) -> int:
    """The id of the team's general wallet, or of the one restricted to these job types; made by its first grant.

    The general wallet is made first, so that it has the lowest id of a team's wallets and is locked before them.
    """
    restriction = restriction_of(job_types)
    found = (
        Account.objects.filter(team=team, kind=Account.Kind.WALLET, restriction=restriction).values_list("id").first()
    )
    if found is not None:
        return int(found[0])
    if restriction:
        Account.objects.filter(pk=wallet_id(team)).update(has_restricted=True)
    wallet, _ = Account.objects.get_or_create(
        team=team,
        kind=Account.Kind.WALLET,
        restriction=restriction,
        defaults={"organization_id": team.organization_id},
    )
    return wallet.pk


def restriction_of(job_types: Iterable[str]) -> str:
    """Job types as an account's restriction. Raises: InvalidRequest for names that cannot be told apart there."""
    names = sorted(set(job_types))
    restriction = ",".join(names)
    if any(not name or "," in name for name in names) or len(restriction) > RESTRICTION_MAX:
        raise InvalidRequest(
            f"A restriction names job types without commas, together at most {RESTRICTION_MAX} characters."
        )
    return restriction


def job_types_of(restriction: str) -> list[str]:
    """The job types of an account's restriction; none of a general wallet."""
    return restriction.split(",") if restriction else []


def pool_id(organization: Organization) -> int:
    """The id of the organization's pool, made by its first grant."""
    pool, _ = Account.objects.get_or_create(kind=Account.Kind.POOL, organization=organization)
    return pool.pk


def open_wallet(team: Team) -> int:
    """Make the team's wallet, empty, so that its balance can be read before its first grant."""
    with transaction.atomic():
        return wallet_id(team)


def lock_wallet(team: Team, job_types: Iterable[str] = ()) -> int:
    """Take a wallet's row lock inside the caller's transaction, to decide on what its balance is. Its id."""
    account_id = wallet_id(team, job_types)
    balances.lock(account_id)
    return account_id


def insufficient(team: Team, *, needed_micros: int, beside_micros: int = 0) -> InsufficientCredits:
    """The refusal for lack of credits, in the wire contract's words, with the exact figures beside it.

    `beside_micros` could be had of restricted wallets.
    """
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
        **({"restricted_spendable_micros": beside_micros} if beside_micros else {}),
    )


def ensure_system_accounts(**_: Any) -> None:
    """Make the system accounts, after every migrate and flush."""
    for account_id, name in SYSTEM_ACCOUNTS.items():
        Account.objects.get_or_create(pk=account_id, defaults={"kind": Account.Kind.SYSTEM, "system_name": name})
