"""Answers about entries put right."""

from apps.openapi.answers.shared import Balance, LotPart, Transaction
from apps.openapi.kinds import AccountKind, Exact, Id


class Reversal(Balance):
    """An entry that was put right, in whole or in part, with the account's balance after it."""

    reverses: Id
    transaction: Transaction
    external_id: str | None
    credits_reversed: Exact
    credits_reversible: Exact
    credits_to_debt: Exact
    lots: list[LotPart]
    account: AccountKind
    job_types: list[str] | None
