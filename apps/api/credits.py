"""Credits: balance, grants, transactions and checks."""

from typing import Annotated, Any

from pydantic import AliasChoices, Field
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import past_balances, present, present_lots
from apps.api.authentication import ApiView, EitherView, OperatorView, Partly
from apps.api.display import display
from apps.api.fields import Credits, FutureInstant, Rate, Reason, query_choice, query_error, query_text
from apps.api.idempotent import respond
from apps.api.jobs import JobType
from apps.api.listing import page
from apps.api.parsing import Input, parse
from apps.core import crypto
from apps.core.errors import InvalidRequest
from apps.core.ids import new_id
from apps.core.money import MAX_CREDITS, credits_to_micros, whole_credits
from apps.credits import allowances, billing, ledger, lots
from apps.credits.errors import NoCreditAccount
from apps.credits.models import Grant
from apps.organizations.rights import Right
from apps.provisioning import credits as operators
from apps.provisioning import goodwill
from apps.teams import services as teams
from apps.teams.models import Team

DEFAULT_REASON = "Manual credit allocation"
# Longer keys stand in the ledger by their hash: its own column has room for a team's id and this.
_PLAIN_KEY_MAX = 100


Priority = Annotated[int, Field(ge=0, le=1_000)]
JobTypes = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=100, pattern="^[^,]*$")]], Field(max_length=50)
]


class AddCreditsInput(Input):
    """Whole credits to grant."""

    credits: Annotated[int, Field(gt=0, le=MAX_CREDITS, validation_alias=AliasChoices("credits", "credits_amount"))]
    reason: Reason | None = None
    kind: Grant.Kind = Field(default=Grant.Kind.PAID, strict=False)
    expires_at: FutureInstant | None = None
    priority: Priority | None = None
    job_types: JobTypes | None = None


def ledger_key(view: ApiView, request: Request) -> str:
    """What names an operation of the ledger for ever: the request's Idempotency-Key, else something new.

    Prefixed, so that no caller's key meets one of the platform's own operations.
    """
    key = view.idempotent(request)
    if key is None:
        return f"api:{new_id()}"
    return f"api:{key.key if len(key.key) <= _PLAIN_KEY_MAX else crypto.fingerprint(key.key.encode())}"


class CheckInput(Input):
    """How many credits something would need; the body may be left out. With `job_type` those count too that are for
    such jobs alone."""

    credits_needed: Annotated[
        Credits | None, Field(validation_alias=AliasChoices("credits_required", "credits_needed"))
    ] = None
    job_type: JobType | None = None


class TeamBalance(EitherView):
    """GET /api/credits/teams/{team_id}/balance: now, or with `at` at that instant."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, team_id: str) -> Response:
        team = self.team(team_id, refusal="Cannot access credit balance for a different team")
        at = past_balances.instant_of(request)
        if at is not None:
            return Response(past_balances.of_team(team, at))
        balance = billing.balance(team)
        if not balance.exists:
            raise NoCreditAccount(f"No credit account found for team '{team_id}'")
        is_operator = self.caller.is_operator
        plan, refill = billing.plan(team), allowances.refill_of(team)
        wallets = lots.wallets_of(team)
        return Response(
            present.team_credits(team, balance, plan, refill, to_operator=is_operator)
            | present_lots.expiring_soon(wallets)
            | present_lots.restricted(wallets)
            | display(team.organization)
        )


class AddCredits(OperatorView):
    """POST /api/credits/teams/{team_id}/add: granted once per Idempotency-Key, for ever."""

    rights = {"POST": Partly(Right.CREDITS_WRITE)}

    def post(self, request: Request, team_id: str) -> Response:
        body = parse(AddCreditsInput, request)
        goodwill.require_may_grant(self.caller.as_operator, credits=body.credits, kind=body.kind)
        key = ledger_key(self, request)

        def effect() -> dict[str, Any]:
            entry = operators.add_credits(
                teams.find(team_id),
                credits=body.credits,
                actor=self.caller.actor,
                key=key,
                reason=body.reason or DEFAULT_REASON,
                kind=body.kind,
                expires_at=body.expires_at,
                priority=body.priority,
                job_types=body.job_types or (),
            )
            return {"team_id": team_id, "credits_added": body.credits, "transaction_id": str(entry.pk)}

        return respond(self, request, effect=effect, render=self._added)

    def _added(self, ids: dict[str, Any], secret: str | None) -> dict[str, Any]:
        team = teams.find(ids["team_id"])
        return {
            "team_id": team.team_id,
            "credits_added": ids["credits_added"],
            "transaction": present.transaction(team, billing.posting(team, ids["transaction_id"])),
            **billing.balance(team).as_wire(),
        }


class ReplenishInput(Input):
    """Credits that were paid for. The amount is in dollars; `payment_id` is the payment's own id."""

    credits: int
    payment_type: Annotated[str, Field(max_length=32)]
    payment_amount_usd: Annotated[Rate, Field(ge=0, le=1_000_000_000)] | None = None
    payment_id: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    reason: Reason | None = None
    expires_at: FutureInstant | None = None
    priority: Priority | None = None
    job_types: JobTypes | None = None


class Replenish(OperatorView):
    """POST /api/credits/teams/{team_id}/replenish: a payment with a `payment_id` arrives once."""

    rights = {"POST": Right.CREDITS_WRITE}

    def post(self, request: Request, team_id: str) -> Response:
        body = parse(ReplenishInput, request)
        if not 0 < body.credits <= MAX_CREDITS:
            raise InvalidRequest("credits must be a positive integer")
        # The payment itself names the operation, where it has a name.
        key = (
            f"payment:{crypto.fingerprint(body.payment_id.encode())}"
            if body.payment_id
            else ledger_key(self, request)
        )

        def effect() -> dict[str, Any]:
            entry = operators.replenish(
                teams.find(team_id),
                credits=body.credits,
                payment_type=body.payment_type,
                payment_usd=body.payment_amount_usd,
                payment_id=body.payment_id,
                actor=self.caller.actor,
                key=key,
                reason=body.reason or "",
                expires_at=body.expires_at,
                priority=body.priority,
                job_types=body.job_types or (),
            )
            return {
                "team_id": team_id,
                "credits_added": body.credits,
                "payment_type": body.payment_type,
                "payment_amount_usd": None if body.payment_amount_usd is None else float(body.payment_amount_usd),
                "transaction_id": str(entry.pk),
            }

        return respond(self, request, effect=effect, render=self._paid)

    def _paid(self, ids: dict[str, Any], secret: str | None) -> dict[str, Any]:
        team = teams.find(ids["team_id"])
        transaction = present.transaction(team, billing.posting(team, ids["transaction_id"]))
        return {
            "team_id": team.team_id,
            "credits_added": ids["credits_added"],
            "credits_before": transaction["credits_before"],
            "credits_after": transaction["credits_after"],
            "payment_type": ids["payment_type"],
            "payment_amount_usd": ids["payment_amount_usd"],
            "transaction": transaction,
            **billing.balance(team).as_wire(),
        }


class TeamTransactions(EitherView):
    """GET /api/credits/teams/{team_id}/transactions: newest first, with their true number; with `job_types` those of
    the credits that are for these alone."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, team_id: str) -> Response:
        limit, offset = page(request, default=50)
        team = self.team(team_id, refusal="Cannot access credit transactions for a different team")
        job_types = ledger.job_types_of(query_text(request, "job_types") or "")
        total, found = billing.postings(team, limit=limit, offset=offset, job_types=job_types)
        shown = [present.transaction(team, each) for each in found]
        return Response({"team_id": team_id, "total": total, "limit": limit, "offset": offset, "transactions": shown})


class TeamGrants(EitherView):
    """GET /api/credits/teams/{team_id}/grants: lots with something left, with `all=true` the others too."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, team_id: str) -> Response:
        limit, offset = page(request, default=50)
        with_spent = query_choice(request, "all", ("true", "false")) == "true"
        team = self.team(team_id, refusal="Cannot access grants of a different team")
        total, found = lots.lots_of(lots.wallets_of(team), limit=limit, offset=offset, with_spent=with_spent)
        to_operator = self.caller.is_operator
        grants = [present_lots.lot(each, to_operator=to_operator) for each in found]
        return Response({"team_id": team_id, "total": total, "limit": limit, "offset": offset, "grants": grants})


class CreditLineInput(Input):
    """How many credits below zero a team's general wallet may be spent."""

    credits: Credits
    reason: Reason | None = None


class CreditLine(OperatorView):
    """PUT /api/credits/teams/{team_id}/credit-line"""

    rights = {"PUT": Right.CREDITS_WRITE}

    def put(self, request: Request, team_id: str) -> Response:
        body = parse(CreditLineInput, request)
        team = teams.find(team_id)
        operators.set_credit_line(team, credits=body.credits, actor=self.caller.actor, reason=body.reason or "")
        return Response(
            {
                "team_id": team_id,
                "credit_limit": body.credits or None,
                **billing.balance(team).as_wire(),
                "message": "Credit line updated successfully",
            }
        )


class CheckCredits(EitherView):
    """POST /api/credits/teams/{team_id}/check: 200 whether they suffice or not. Nothing is held."""

    rights = {"POST": Right.VIEW}

    def post(self, request: Request, team_id: str) -> Response:
        body = parse(CheckInput, request)
        needed, job_type = self._needed(request, body), body.job_type
        team = self.team(team_id, refusal="Cannot check credits for a different team")
        # A repeat gets the first verdict, as it gets the first answer of every other POST.
        return respond(
            self, request, effect=lambda: self._verdict(team, needed, job_type), render=lambda verdict, _: verdict
        )

    def _needed(self, request: Request, body: CheckInput) -> int:
        in_body = body.credits_needed
        text = request.GET.get("credits_needed")
        if text is None:
            return 1 if in_body is None else in_body
        if not text.isdecimal() or not text.isascii() or len(text) > 13 or int(text) > MAX_CREDITS:
            raise query_error(
                "credits_needed", f"Must be a whole number from 0 to {MAX_CREDITS}", kind="int_parsing", value=text
            )
        return int(text)

    def _verdict(self, team: Team, needed: int, job_type: str | None) -> dict[str, Any]:
        balance = billing.balance(team)
        general = balance.spendable_micros + balance.credit_line_micros
        available = general if job_type is None else billing.spendable_on(team, job_type, balance)
        has_credits = available >= credits_to_micros(needed)
        verdict: dict[str, Any] = {"team_id": team.team_id, "has_credits": has_credits, "credits_needed": needed}
        if job_type is not None:
            verdict |= {"job_type": job_type, "credits_available": whole_credits(available)}
        if not has_credits:
            verdict["error"] = ledger.insufficient(
                team, needed_micros=credits_to_micros(needed), beside_micros=max(0, available - max(0, general))
            ).message
        return verdict | balance.as_wire()
