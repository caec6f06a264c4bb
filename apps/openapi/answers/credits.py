"""Answers about credits."""

from typing import NotRequired

from typing_extensions import TypedDict

from apps.openapi.answers.shared import Balance, ExpiringSoon, LongPage, Page, PastBalance, TeamCredits, Transaction
from apps.openapi.kinds import Credits, EntryKind, Exact, Id, Instant, LotKind, TransactionType, Usd


class CreditsAdded(Balance):
    """A grant and the balance after it."""

    team_id: str
    credits_added: Credits
    transaction: Transaction


class Transactions(Page):
    """A page of a team's ledger entries, newest first."""

    team_id: str
    transactions: list[Transaction]


class Replenished(Balance):
    """A paid grant and the balance after it."""

    team_id: str
    credits_added: Credits
    credits_before: Credits
    credits_after: Credits
    payment_type: str
    payment_amount_usd: Usd | None
    transaction: Transaction


class BalanceDisplay(TypedDict):
    """The organization's currency and its rate now."""

    currency: str
    rate: str
    rate_valid_from: Instant


class RestrictedBalance(Balance):
    """Credits that pay for some job types alone."""

    job_types: list[str]


class Lot(TypedDict):
    """A lot of credits: what it was, what is left of it and until when."""

    grant_id: Id
    transaction_id: Id
    kind: LotKind
    source: str
    priority: int
    credits_granted: Exact
    credits_remaining: Credits
    credits_exact: Exact
    job_types: list[str] | None
    effective_at: Instant
    expires_at: Instant | None
    created_at: Instant
    price_usd_per_credit: NotRequired[Usd | None]


class Lots(Page):
    """A page of a team's lots."""

    team_id: str
    grants: list[Lot]


class LotOfAccount(Lot):
    """A lot of any account, for operators."""

    account: str
    team_id: str | None
    organization_id: str | None


class AllLots(LongPage):
    """Lots of all accounts."""

    grants: list[LotOfAccount]


class EntrySide(TypedDict):
    """One of the two accounts of an entry: whose it is, the entry's number there, and the balance after it."""

    account: str
    team_id: str | None
    organization_id: str | None
    number: int | None
    balance: Exact | None


LedgerEntry = TypedDict(
    "LedgerEntry",
    {
        "transaction_id": Id,
        "kind": EntryKind,
        "transaction_type": TransactionType,
        "credits": Exact,
        "from": EntrySide,
        "to": EntrySide,
        "job_id": str | None,
        "reason": str | None,
        "source": str | None,
        "actor": str,
        "reverses": Id | None,
        "created_at": Instant,
    },
)
LedgerEntry.__doc__ = "A ledger entry with both of its accounts."


class LedgerEntries(LongPage):
    """Ledger entries of all accounts."""

    entries: list[LedgerEntry]


class TrendDay(TypedDict):
    """What jobs of a day were charged."""

    date: str
    credits_used: Credits
    credits_used_exact: Exact
    jobs: int


class Trends(TypedDict):
    """What jobs of each of the last days were charged."""

    team_id: str
    days: int
    total_credits_used: int
    trends: list[TrendDay]


class CreditLine(Balance):
    """How far below zero a wallet may be spent. `credit_limit` is null without a line."""

    team_id: str
    credit_limit: Credits | None
    message: str


class CreditCheck(Balance):
    """Whether credits suffice. `error` says why they do not. `credits_available` is what the `job_type` asked about
    could spend."""

    team_id: str
    has_credits: bool
    credits_needed: Credits
    job_type: NotRequired[str]
    credits_available: NotRequired[Credits]
    error: NotRequired[str]


class CreditAccount(TeamCredits):
    """A team's credit account as it stands."""

    expiring_soon: list[ExpiringSoon]
    restricted: list[RestrictedBalance]
    display: NotRequired[BalanceDisplay]


class PastTeamBalance(PastBalance):
    """What a team's general wallet had at an instant in the past."""

    team_id: str
    organization_id: str
