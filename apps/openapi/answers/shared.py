"""Parts that answers of several resources have."""

from typing import NotRequired

from typing_extensions import TypedDict

from apps.openapi.kinds import (
    BudgetMode,
    Credits,
    Exact,
    Id,
    Instant,
    LotKind,
    OnCap,
    TeamStatus,
    TransactionType,
    Usd,
)


class Message(TypedDict):
    """What was done."""

    message: str


class Page(TypedDict):
    """Which rows these are, and how many there are on all pages."""

    total: int
    limit: int
    offset: int


class LongPage(TypedDict):
    """Which rows of a table that grows without end. `total` is exact up to 10,000; `offset` is null by cursor."""

    total: int
    total_is_exact: bool
    limit: int
    offset: int | None
    next_cursor: str | None
    prev_cursor: str | None


class Escrow(TypedDict):
    """A job's own ceiling: what it may cost, what is held for it, used and left. Null for a job without one."""

    max_credits: Credits
    held: Credits
    used: Credits
    remaining: Credits
    max_credits_exact: Exact
    held_exact: Exact
    used_exact: Exact
    remaining_exact: Exact
    reserve: bool
    on_cap: OnCap
    deadline: Instant | None


class TokenUsage(TypedDict):
    """Tokens of a call, in OpenAI's names."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Transaction(TypedDict):
    """A ledger entry as one account sees it: an amount, and what was posted before and after it."""

    transaction_id: Id
    team_id: str | None
    organization_id: str
    job_id: str | None
    transaction_type: TransactionType
    credits_amount: Credits
    credits_before: Credits
    credits_after: Credits
    credits_amount_exact: Exact
    credits_before_exact: Exact
    credits_after_exact: Exact
    reason: str | None
    created_at: Instant


class Display(TypedDict):
    """The organization's own currency and its rate to the dollar, with a cost where there is one to show."""

    currency: str
    rate: str
    rate_valid_from: Instant
    total_cost: NotRequired[float]


class JobFigures(TypedDict):
    """What a job came to, and what its team has left. Costs are null for teams that do not see them."""

    total_calls: int
    successful_calls: int
    failed_calls: int
    total_tokens: int
    total_cost_usd: Usd | None
    avg_latency_ms: int
    credit_applied: bool
    credits_charged: Exact
    charge_pending: bool
    credits_remaining: Credits
    credits_held: Credits
    credits_exact: Exact
    display: NotRequired[Display]


class ExpiringSoon(TypedDict):
    """Credits that expire within 30 days."""

    credits: Credits
    credits_exact: Exact
    expires_at: Instant | None
    job_types: list[str] | None


class LotPart(TypedDict):
    """A part of a lot of credits: what an entry took from it or gave back to it."""

    grant_id: Id
    kind: LotKind
    credits: Exact
    expires_at: Instant | None


class Balance(TypedDict):
    """A wallet: what was granted, used, can be spent and is held for open jobs. Whole credits are rounded down."""

    credits_allocated: Credits
    credits_used: Credits
    credits_remaining: Credits
    credits_held: Credits
    credits_exact: Exact


class TeamCredits(Balance):
    """A team's credit account. Its markup is for operators."""

    team_id: str
    organization_id: str
    credit_limit: Credits | None
    auto_refill: bool
    refill_amount: Credits | None
    refill_period: str | None
    refill_rolls_over: bool
    next_refill_at: Instant | None
    last_refill_at: Instant | None
    budget_mode: BudgetMode
    credits_per_dollar: float
    tokens_per_credit: int
    cost_markup_percentage: float | None
    status: TeamStatus
    created_at: Instant
    updated_at: Instant


class PastBalance(TypedDict):
    """What an account had at an instant in the past. Held credits keep no history: null if there were any."""

    at: Instant
    credits_posted: Credits
    credits_posted_exact: Exact
    credits_held: Credits | None
    credits_remaining: Credits | None
    credits_exact: Exact | None
    held_unknown_because: str | None
    last_transaction_id: Id | None
    last_transaction_at: Instant | None
