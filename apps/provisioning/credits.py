"""What operators do with credits, pools, credit lines and entries: the ledger's operations with their audit trail."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction

from apps.core import audit
from apps.core.actors import Actor
from apps.core.errors import InvalidField, InvalidRequest
from apps.core.ids import parse_uuid
from apps.core.money import (
    MAX_CREDITS,
    MICROS,
    NANOUSD,
    credits_to_micros,
    decimal_to_int,
    exact_credits,
    whole_credits,
)
from apps.credits import allowances, billing, ledger, lots
from apps.credits.billing import Balance
from apps.credits.errors import EntryNotFound, EntryNotReversible
from apps.credits.models import Account, Entry, Grant
from apps.organizations.models import Organization
from apps.teams.errors import TeamNotFound
from apps.teams.models import Team

PAYMENT_KINDS = {"subscription": Grant.Kind.SUBSCRIPTION, "one_time": Grant.Kind.PAID}


def add_credits(
    team: Team,
    *,
    credits: int,
    actor: Actor,
    key: str,
    reason: str,
    kind: Grant.Kind = Grant.Kind.PAID,
    source: str = "",
    external_id: str | None = None,
    price_nanousd_per_credit: int | None = None,
    expires_at: datetime | None = None,
    priority: int | None = None,
    job_types: Sequence[str] = (),
) -> Entry:
    """Grant a team whole credits, for `job_types` alone if any are named. Once per `key` and `external_id`: a repeat
    returns the first entry.

    Raises: InvalidRequest beyond what a wallet may have been allocated in all, IdempotencyConflict.
    """
    with transaction.atomic():
        wallet_id = ledger.lock_wallet(team, job_types)
        before = billing.balance_by_id(wallet_id).allocated_micros
        entry = ledger.grant(
            team,
            amount_micros=credits_to_micros(credits),
            actor=actor,
            key=key,
            reason=reason,
            kind=kind,
            source=source,
            external_id=external_id,
            price_nanousd_per_credit=price_nanousd_per_credit,
            expires_at=expires_at,
            priority=priority,
            job_types=job_types,
        )
        after = billing.balance_by_id(wallet_id).allocated_micros
        _require_allocatable(after)
        _audit_allocation(team, before, after, actor=actor, reason=reason, job_types=job_types)
    return entry


def replenish(
    team: Team,
    *,
    credits: int,
    payment_type: str,
    actor: Actor,
    key: str,
    reason: str = "",
    payment_usd: Decimal | None = None,
    payment_id: str | None = None,
    **terms: Any,
) -> Entry:
    """Grant a team whole credits that were paid for, with more terms of `add_credits`. A payment (`payment_id`)
    arrives once.

    Raises: InvalidRequest for an unknown kind of payment, IdempotencyConflict for a payment that came before.
    """
    if payment_type not in PAYMENT_KINDS:
        raise InvalidRequest("payment_type must be 'subscription' or 'one_time'")
    if payment_usd is not None:
        reason = f"{reason} (${payment_usd:.2f} USD)".strip()
    with transaction.atomic():
        entry = add_credits(
            team,
            credits=credits,
            actor=actor,
            key=key,
            reason=reason[:500],
            kind=PAYMENT_KINDS[payment_type],
            source=f"payment:{payment_type}",
            external_id=payment_id,
            price_nanousd_per_credit=(
                decimal_to_int(payment_usd / credits, scale=NANOUSD) if payment_usd is not None else None
            ),
            **terms,
        )
        if payment_type == "subscription":
            allowances.note_payment(team)
    return entry


def set_allocation(team: Team, *, credits: int, actor: Actor, key: str, reason: str = "") -> Entry | None:
    """Bring what a team was allocated to `credits` whole ones, by a grant or an adjustment of the difference.

    Raises: InvalidRequest when that is less than it has used and holds.
    """
    with transaction.atomic():
        ledger.lock_wallet(team)
        before = billing.balance(team)
        entry = _set_allocation(team, before, credits=credits, actor=actor, key=key, reason=reason)
        after = billing.balance(team).allocated_micros
        _audit_allocation(team, before.allocated_micros, after, actor=actor, reason=reason)
    return entry


def _set_allocation(
    team: Team, balance: Balance, *, credits: int, actor: Actor, key: str, reason: str
) -> Entry | None:
    difference = credits_to_micros(credits) - balance.allocated_micros
    if difference > 0:
        return ledger.grant(
            team, amount_micros=difference, actor=actor, key=key, reason=reason or "Allocation raised"
        )
    if difference == 0:
        return None
    if -difference > balance.spendable_micros:
        least = -(-(balance.allocated_micros - balance.spendable_micros) // MICROS)
        raise InvalidRequest(
            f"credits_allocated cannot be less than what is used and held: {least}"
            f" (used {whole_credits(balance.used_micros)}, held {whole_credits(balance.held_micros)})"
        )
    return ledger.adjust(team, amount_micros=-difference, actor=actor, key=key, reason=reason or "Allocation lowered")


def take(team: Team, *, micros: int, actor: Actor, key: str, reason: str) -> Entry:
    """Take credits out of a team's general wallet by an operator's decision, once per `key`.

    Raises: InsufficientCredits when less can be spent, IdempotencyConflict, InvalidRequest.
    """
    with transaction.atomic():
        ledger.lock_wallet(team)
        before = billing.balance(team).allocated_micros
        entry = ledger.adjust(team, amount_micros=micros, actor=actor, key=key, reason=reason)
        _audit_allocation(team, before, billing.balance(team).allocated_micros, actor=actor, reason=reason)
    return entry


def fund_pool(
    organization: Organization,
    *,
    credits: int,
    actor: Actor,
    key: str,
    reason: str,
    kind: Grant.Kind = Grant.Kind.PAID,
    expires_at: datetime | None = None,
    priority: int | None = None,
) -> Entry:
    """Grant an organization's pool whole credits, once per `key`.

    Raises: InvalidRequest beyond what a pool may have, IdempotencyConflict.
    """
    with transaction.atomic():
        before = _pool_micros(organization)
        entry = ledger.grant_to_pool(
            organization,
            amount_micros=credits_to_micros(credits),
            actor=actor,
            key=key,
            reason=reason,
            kind=kind,
            expires_at=expires_at,
            priority=priority,
        )
        if _pool_micros(organization) > credits_to_micros(MAX_CREDITS):
            raise InvalidRequest(f"A pool can have at most {MAX_CREDITS} credits")
        _audit_pool(organization, before, actor=actor, reason=reason)
    return entry


def allocate(
    organization: Organization, team: Team, *, credits: int, actor: Actor, key: str, reason: str = ""
) -> Entry:
    """Move whole credits from the pool to a team of the organization, once per `key`.

    Raises: TeamNotFound for a team of another organization, PoolTooSmall, IdempotencyConflict.
    """
    return _move(ledger.allocate, organization, team, credits, actor, key, reason)


def reclaim(
    organization: Organization, team: Team, *, credits: int, actor: Actor, key: str, reason: str = ""
) -> Entry:
    """Move whole credits that came from the pool back to it, once per `key`.

    Raises: TeamNotFound for a team of another organization, ReclaimExceedsAllocation, IdempotencyConflict.
    """
    return _move(ledger.reclaim, organization, team, credits, actor, key, reason)


def _move(
    operation: Any, organization: Organization, team: Team, credits: int, actor: Actor, key: str, reason: str
) -> Entry:
    if team.organization_id != organization.pk:
        raise TeamNotFound(f"Team '{team.team_id}' not found in organization '{organization.organization_id}'")
    with transaction.atomic():
        pool, wallet = _pool_micros(organization), billing.balance(team).allocated_micros
        entry: Entry = operation(team, amount_micros=credits_to_micros(credits), actor=actor, key=key, reason=reason)
        allocated = billing.balance(team).allocated_micros
        _require_allocatable(allocated)
        if allocated != wallet:
            _audit_pool(organization, pool, actor=actor, reason=reason)
        _audit_allocation(team, wallet, allocated, actor=actor, reason=reason)
    return entry


def set_credit_line(team: Team, *, credits: int, actor: Actor, reason: str = "") -> None:
    """How far below zero a team's general wallet may be spent, in whole credits.

    Raises: InvalidField beyond CREDIT_LINE_MAX_CREDITS, CreditLineInUse.
    """
    if credits > settings.CREDIT_LINE_MAX_CREDITS:
        raise InvalidField(
            "credits", f"A credit line can have at most {settings.CREDIT_LINE_MAX_CREDITS} credits.", value=credits
        )
    with transaction.atomic():
        before = ledger.set_credit_line(team, amount_micros=credits_to_micros(credits))
        audit.record(
            "team.credit_line",
            actor=actor,
            kind="team",
            id=team.team_id,
            before={"credit_line": exact_credits(before)},
            after={"credit_line": str(credits)},
            reason=reason,
        )


def reverse(
    transaction_id: str,
    *,
    of: Entry.Kind,
    micros: int | None,
    actor: Actor,
    key: str,
    reason: str,
    external_id: str | None = None,
) -> Entry:
    """Refund a charge or take back a grant, whichever `of` says; without `micros` all that is left of it.

    Raises: EntryNotFound, EntryNotReversible for an entry of another kind, ReversalExceedsEntry, IdempotencyConflict.
    """
    parsed = parse_uuid(transaction_id)
    original = Entry.objects.filter(pk=parsed).first() if parsed else None
    if original is None:
        raise EntryNotFound(f"There is no transaction '{transaction_id[:100]}'")
    if original.kind != of:
        wanted = "A charge is refunded" if of == Entry.Kind.CHARGE else "A grant is reversed"
        raise EntryNotReversible(f"{wanted} here; this transaction is of kind '{original.kind}'.")
    with transaction.atomic():
        known = set(original.reversals.values_list("pk", flat=True))
        entry = ledger.reverse(
            original, amount_micros=micros, actor=actor, key=key, reason=reason, external_id=external_id
        )
        if entry.pk not in known:
            after = ledger.reversible_micros(original)
            audit.record(
                f"credits.{entry.kind}",
                actor=actor,
                kind="entry",
                id=str(original.pk),
                before={"reversible": exact_credits(after + entry.amount_micros)},
                after={"reversible": exact_credits(after), "entry": str(entry.pk)},
                reason=reason,
            )
    return entry


def _pool_micros(organization: Organization) -> int:
    pool: Account | None = lots.pool_of(organization)
    return billing.balance_of(pool).posted_micros if pool is not None else 0


def _audit_pool(organization: Organization, before: int, *, actor: Actor, reason: str) -> None:
    after = _pool_micros(organization)
    if before != after:
        audit.record(
            "organization.credits",
            actor=actor,
            kind="organization",
            id=organization.organization_id,
            before={"credits_in_pool": exact_credits(before)},
            after={"credits_in_pool": exact_credits(after)},
            reason=reason,
        )


def _require_allocatable(micros: int) -> None:
    """Raises: InvalidRequest beyond what a team may have been allocated in all."""
    if micros > credits_to_micros(MAX_CREDITS):
        raise InvalidRequest(f"A team can be allocated at most {MAX_CREDITS} credits in all")


def _audit_allocation(
    team: Team, before: int, after: int, *, actor: Actor, reason: str, job_types: Sequence[str] = ()
) -> None:
    """Of the micros that a team was allocated."""
    if before == after:
        return
    audit.record(
        "team.credits",
        actor=actor,
        kind="team",
        id=team.team_id,
        before={"credits_allocated": exact_credits(before)},
        after={
            "credits_allocated": exact_credits(after),
            **({"job_types": sorted(set(job_types))} if job_types else {}),
        },
        reason=reason,
    )
