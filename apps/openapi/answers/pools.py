"""Answers about organizations' pools."""

from typing_extensions import TypedDict

from apps.openapi.answers.shared import Balance, ExpiringSoon, Page, PastBalance, Transaction
from apps.openapi.kinds import Credits, Exact


class Pool(TypedDict):
    """An organization's pool: credits that are given to its teams."""

    organization_id: str
    credits_remaining: Credits
    credits_exact: Exact
    credits_allocated_to_teams: Credits
    expiring_soon: list[ExpiringSoon]


class PastPoolBalance(PastBalance):
    """What an organization's pool had at an instant in the past."""

    organization_id: str


class PoolFunded(Pool):
    """A grant to a pool and the pool after it."""

    credits_added: Credits
    transaction: Transaction


class Allocated(Balance):
    """Credits that went from the pool to a team, with both balances."""

    organization_id: str
    team_id: str
    credits_allocated_now: Credits
    transaction: Transaction
    pool_transaction: Transaction
    pool: Pool


class Reclaimed(Balance):
    """Credits that went from a team back to the pool, with both balances."""

    organization_id: str
    team_id: str
    credits_reclaimed: Credits
    transaction: Transaction
    pool_transaction: Transaction
    pool: Pool


class PoolTransactions(Page):
    """A page of a pool's ledger entries, newest first."""

    organization_id: str
    transactions: list[Transaction]
