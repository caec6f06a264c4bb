"""Answers about statements and closed months."""

from typing import NotRequired

from typing_extensions import TypedDict

from apps.openapi.answers.shared import Display, Page
from apps.openapi.kinds import AccountKind, EntryKind, Exact, Id, Instant, LotKind, TransactionType


class Period(TypedDict):
    """A closed month."""

    period: str
    ends_at: Instant
    closed_at: Instant
    closed_by: str | None
    accounts: int


class Periods(Page):
    """A page of closed months, newest first."""

    periods: list[Period]


class Movement(TypedDict):
    """Entries of one kind, summed."""

    kind: EntryKind
    entries: int
    credits: Exact


class StatementExpiring(TypedDict):
    """Credits that expire soon after the month."""

    account: AccountKind
    team_id: str | None
    restricted_to: str | None
    grant_id: Id
    kind: LotKind
    credits_left: Exact
    expires_at: Instant


class StatementAccount(TypedDict):
    """A wallet or pool in a month."""

    account: AccountKind
    team_id: str | None
    restricted_to: str | None
    opening_balance: Exact
    closing_balance: Exact
    entries: int
    movements: list[Movement]


class StatementEntry(TypedDict):
    """A ledger entry with the account's balance after it."""

    transaction_id: Id
    account: AccountKind
    team_id: str | None
    restricted_to: str | None
    number: int
    created_at: Instant
    kind: EntryKind
    transaction_type: TransactionType
    credits: Exact
    balance: Exact
    job_id: str | None
    reason: str | None


class StatementJobType(TypedDict):
    """What jobs of a type were charged in a month."""

    jobs: int
    credits_charged: Exact
    credits_refunded: Exact


class OrganizationStatement(TypedDict):
    """An organization's month: its pool and the wallets of all its teams."""

    organization_id: str
    period: str
    starts_at: Instant
    ends_at: Instant
    final: bool
    closed_at: Instant | None
    opening_balance: Exact
    closing_balance: Exact
    movements: list[Movement]
    accounts: list[StatementAccount]
    by_job_type: dict[str, StatementJobType]
    expiring: list[StatementExpiring]
    total_entries: int
    entries: list[StatementEntry]
    display: NotRequired[Display]


class TeamStatement(OrganizationStatement):
    """A team's month."""

    team_id: str
