"""An organization's pool of credits, for operators: fill it, read it, allocate of it to teams and reclaim."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import past_balances, present, present_lots
from apps.api.authentication import OperatorView
from apps.api.credits import DEFAULT_REASON, Priority, ledger_key
from apps.api.fields import FutureInstant, Reason
from apps.api.idempotent import respond
from apps.api.listing import page
from apps.api.parsing import Input, Text255, parse
from apps.core.money import MAX_CREDITS, exact_credits, whole_credits
from apps.credits import billing, lots
from apps.credits.errors import NoCreditAccount
from apps.credits.models import Account, Entry, Grant
from apps.organizations import services as organizations
from apps.organizations.models import Organization
from apps.organizations.rights import Right
from apps.provisioning import credits as operators
from apps.teams import services as teams

Amount = Annotated[int, Field(gt=0, le=MAX_CREDITS)]


class FundInput(Input):
    """Whole credits to grant to a pool."""

    credits: Amount
    reason: Reason | None = None
    kind: Grant.Kind = Field(default=Grant.Kind.PAID, strict=False)
    expires_at: FutureInstant | None = None
    priority: Priority | None = None


class MoveInput(Input):
    """Whole credits to move between a pool and one of its organization's teams."""

    team_id: Text255
    credits: Amount
    reason: Reason | None = None


def _pool(organization: Organization) -> Account:
    pool = lots.pool_of(organization)
    if pool is None:
        raise NoCreditAccount(f"Organization '{organization.organization_id}' has no pool of credits")
    return pool


def _balance(organization: Organization, pool: Account) -> dict[str, Any]:
    """What of a pool can be allocated, and what its teams have had of it."""
    balance = billing.balance_of(pool)
    return {
        "organization_id": organization.organization_id,
        "credits_remaining": whole_credits(balance.spendable_micros),
        "credits_exact": exact_credits(balance.spendable_micros),
        "credits_allocated_to_teams": whole_credits(billing.moved_to_wallets_micros(pool)),
        **present_lots.expiring_soon([pool]),
    }


def _transaction(organization: Organization, pool: Account, entry: Entry) -> dict[str, Any]:
    return present.account_transaction(
        billing.seen_by(pool, entry), team_id=None, organization_id=organization.organization_id
    )


class FundPool(OperatorView):
    """POST /api/credits/organizations/{organization_id}/add: granted once per Idempotency-Key, for ever."""

    rights = {"POST": Right.CREDITS_WRITE}

    def post(self, request: Request, organization_id: str) -> Response:
        body = parse(FundInput, request)
        key = ledger_key(self, request)

        def effect() -> dict[str, Any]:
            entry = operators.fund_pool(
                organizations.find(organization_id),
                credits=body.credits,
                actor=self.caller.actor,
                key=key,
                reason=body.reason or DEFAULT_REASON,
                kind=body.kind,
                expires_at=body.expires_at,
                priority=body.priority,
            )
            return {
                "organization_id": organization_id,
                "credits_added": body.credits,
                "transaction_id": str(entry.pk),
            }

        return respond(self, request, effect=effect, render=self._added)

    def _added(self, ids: dict[str, Any], secret: str | None) -> dict[str, Any]:
        organization = organizations.find(ids["organization_id"])
        pool = _pool(organization)
        entry = Entry.objects.get(pk=ids["transaction_id"])
        return {
            "credits_added": ids["credits_added"],
            "transaction": _transaction(organization, pool, entry),
            **_balance(organization, pool),
        }


class PoolBalance(OperatorView):
    """GET /api/credits/organizations/{organization_id}/balance: now, or with `at` at that instant."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, organization_id: str) -> Response:
        organization, at = organizations.find(organization_id), past_balances.instant_of(request)
        pool = _pool(organization)
        if at is None:
            return Response(_balance(organization, pool))
        return Response({"organization_id": organization_id} | past_balances.of_account(pool, at))


class PoolTransactions(OperatorView):
    """GET /api/credits/organizations/{organization_id}/transactions: newest first, with their true number."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, organization_id: str) -> Response:
        limit, offset = page(request, default=50)
        organization = organizations.find(organization_id)
        pool = lots.pool_of(organization)
        total, found = (0, []) if pool is None else billing.postings_on(pool, limit=limit, offset=offset)
        shown = [present.account_transaction(each, team_id=None, organization_id=organization_id) for each in found]
        page_of = {"total": total, "limit": limit, "offset": offset}
        return Response({"organization_id": organization_id} | page_of | {"transactions": shown})


class _Moves(OperatorView):
    """POST: moved once per Idempotency-Key, for ever. Answers with both sides."""

    rights = {"POST": Right.CREDITS_WRITE}

    move: ClassVar[Callable[..., Entry]]
    moved: ClassVar[str]

    def post(self, request: Request, organization_id: str) -> Response:
        body = parse(MoveInput, request)
        key = ledger_key(self, request)

        def effect() -> dict[str, Any]:
            entry = type(self).move(
                organizations.find(organization_id),
                teams.find(body.team_id),
                credits=body.credits,
                actor=self.caller.actor,
                key=key,
                reason=body.reason or "",
            )
            return {
                "organization_id": organization_id,
                "team_id": body.team_id,
                self.moved: body.credits,
                "transaction_id": str(entry.pk),
            }

        return respond(self, request, effect=effect, render=self._answer)

    def _answer(self, ids: dict[str, Any], secret: str | None) -> dict[str, Any]:
        organization, team = organizations.find(ids["organization_id"]), teams.find(ids["team_id"])
        pool, entry = _pool(organization), Entry.objects.get(pk=ids["transaction_id"])
        return {
            "organization_id": ids["organization_id"],
            "team_id": ids["team_id"],
            self.moved: ids[self.moved],
            "transaction": present.transaction(team, billing.posting(team, ids["transaction_id"])),
            "pool_transaction": _transaction(organization, pool, entry),
            "pool": _balance(organization, pool),
            **billing.balance(team).as_wire(),
        }


class Allocate(_Moves):
    """POST /api/credits/organizations/{organization_id}/allocate: from the pool to a team."""

    move, moved = staticmethod(operators.allocate), "credits_allocated_now"


class Reclaim(_Moves):
    """POST /api/credits/organizations/{organization_id}/reclaim: what a team has left of it back to the pool."""

    move, moved = staticmethod(operators.reclaim), "credits_reclaimed"
