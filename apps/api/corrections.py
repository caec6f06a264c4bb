"""Entries put right by name, for operators: a charge is refunded, a grant taken back, in whole or in parts."""

from decimal import Decimal
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, model_validator
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present
from apps.api.authentication import OperatorView, Partly
from apps.api.credits import ledger_key
from apps.api.fields import Rate, Reason
from apps.api.idempotent import respond
from apps.api.parsing import Input, parse
from apps.core.clock import iso
from apps.core.money import MAX_CREDITS, MICROS, exact_credits
from apps.credits import billing, ledger
from apps.credits.models import Account, Entry
from apps.organizations.rights import Right
from apps.provisioning import credits as operators
from apps.provisioning import goodwill


def _in_micros(value: Decimal) -> Decimal:
    if value * MICROS != int(value * MICROS):
        raise ValueError("A credit has at most six decimal places")
    return value


class ReverseInput(Input):
    """How much of an entry: some credits, or all that is left of it."""

    credits: Annotated[Rate, Field(gt=0, le=MAX_CREDITS), AfterValidator(_in_micros)] | None = None
    all: bool = False
    reason: Annotated[Reason, Field(min_length=1)]
    external_id: Annotated[str, Field(min_length=1, max_length=255)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "ReverseInput":
        if (self.credits is None) != self.all:
            raise ValueError("Give either credits or all: true")
        return self

    @property
    def micros(self) -> int | None:
        return None if self.credits is None else int(self.credits * MICROS)


class _Reverses(OperatorView):
    """POST: done once per Idempotency-Key, for ever."""

    rights = {"POST": Right.CREDITS_WRITE}

    of: ClassVar[Entry.Kind]

    def require_may(self, transaction_id: str, body: ReverseInput) -> None:
        """What is left to be judged of the caller's right. Raises: RightMissing."""

    def post(self, request: Request, transaction_id: str) -> Response:
        body = parse(ReverseInput, request)
        key = ledger_key(self, request)

        def effect() -> dict[str, Any]:
            self.require_may(transaction_id, body)
            entry = operators.reverse(
                transaction_id,
                of=self.of,
                micros=body.micros,
                actor=self.caller.actor,
                key=key,
                reason=body.reason,
                external_id=body.external_id,
            )
            return {"transaction_id": str(entry.pk)}

        return respond(self, request, effect=effect, render=self._answer)

    def _answer(self, ids: dict[str, Any], secret: str | None) -> dict[str, Any]:
        sides = ("debit_account__team__organization", "credit_account__team__organization", "reverses")
        pools = ("debit_account__organization", "credit_account__organization")
        entry = Entry.objects.select_related(*sides, *pools).get(pk=ids["transaction_id"])
        own = entry.credit_account if entry.kind == Entry.Kind.REFUND else entry.debit_account
        lots_of_it = _lots(entry)
        assert entry.reverses is not None
        return {
            "reverses": str(entry.reverses_id),
            "transaction": present.account_transaction(
                billing.seen_by(own, entry),
                team_id=own.team.team_id if own.team else None,
                organization_id=_organization_id(own),
            ),
            "external_id": entry.external_id,
            "credits_reversed": exact_credits(entry.amount_micros),
            "credits_reversible": exact_credits(ledger.reversible_micros(entry.reverses)),
            "credits_to_debt": exact_credits(entry.amount_micros - sum(each["micros"] for each in lots_of_it)),
            "lots": [
                {name: value for name, value in each.items() if name != "micros"}
                | {"credits": exact_credits(each["micros"])}
                for each in lots_of_it
            ],
            "account": own.kind,
            "job_types": ledger.job_types_of(own.restriction) or None,
            **billing.balance_by_id(own.pk).as_wire(),
        }


def _lots(entry: Entry) -> list[dict[str, Any]]:
    """The lots that a refund went to, or that a take-back took from."""
    touched = [(use.grant, abs(use.amount_micros)) for use in entry.uses.select_related("grant").order_by("id")]
    touched += [(grant, grant.amount_micros) for grant in entry.grants.order_by("id")]
    return [
        {"grant_id": str(grant.pk), "kind": grant.kind, "expires_at": iso(grant.expires_at), "micros": micros}
        for grant, micros in touched
    ]


def _organization_id(account: Account) -> str:
    organization = account.team.organization if account.team else account.organization
    assert organization is not None, "an owned account has an owner"
    return organization.organization_id


class RefundEntry(_Reverses):
    """POST /api/credits/entries/{transaction_id}/refund: of a charge; debt is paid first, then the lots that paid."""

    rights = {"POST": Partly(Right.CREDITS_WRITE)}

    of = Entry.Kind.CHARGE

    def require_may(self, transaction_id: str, body: ReverseInput) -> None:
        goodwill.require_may_refund(self.caller.as_operator, transaction_id, micros=body.micros)


class ReverseEntry(_Reverses):
    """POST /api/credits/entries/{transaction_id}/reverse: of a grant; what was spent of it becomes debt."""

    of = Entry.Kind.GRANT
