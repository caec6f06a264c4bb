"""Answers about receipts."""

from typing import NotRequired

from typing_extensions import TypedDict

from apps.openapi.answers.shared import Display, Escrow, LotPart, TokenUsage
from apps.openapi.kinds import (
    Anything,
    AttemptState,
    CallState,
    ChargeState,
    Exact,
    Id,
    Instant,
    JobStatus,
    PriceSource,
    Route,
    TransactionType,
    Usd,
)


class ReceiptTry(TypedDict):
    """One try of a call with a provider, for operators."""

    attempt_id: Id
    claim: int
    status: AttemptState
    route: Route
    provider_model: str
    prompt_tokens: int
    completion_tokens: int
    is_estimated: bool
    raw_usage: Anything
    cost_usd: Usd
    latency_ms: int | None
    error_code: str | None
    started_at: Instant
    ended_at: Instant | None


class ReceiptCall(TypedDict):
    """A call on a receipt. What providers took is for operators."""

    call_id: Id
    purpose: str | None
    model: str
    status: CallState
    usage: TokenUsage
    usage_classes: dict[str, int] | None
    is_estimated: bool
    attempts: int
    cost_usd: Usd | None
    latency_ms: int | None
    error: str | None
    error_code: str | None
    created_at: Instant
    ended_at: Instant | None
    provider_cost_usd: NotRequired[Usd]
    price_source: NotRequired[PriceSource]
    price_id: NotRequired[Id | None]
    usage_mismatch: NotRequired[bool]
    tries: NotRequired[list[ReceiptTry]]


class ReceiptEntry(TypedDict):
    """A ledger entry of a job."""

    transaction_id: Id
    transaction_type: TransactionType
    credits: Exact
    reason: str | None
    reverses: Id | None
    created_at: Instant
    grants: list[LotPart]
    actor: NotRequired[str]


class ReceiptHold(TypedDict):
    """Credits that were held for a job."""

    hold_id: Id
    status: str
    credits: Exact
    opened_at: Instant
    closed_at: Instant | None


class ReceiptLine(TypedDict):
    """A line of the arithmetic that led to the charge."""

    credits: Exact
    why: str


class ReceiptCard(TypedDict):
    """Whose rate card priced the job, and for which job types."""

    of: str
    job_type: str | None


class ReceiptPricing(TypedDict):
    """The terms that are frozen on the job, as far as its mode has use for them."""

    card: ReceiptCard
    version: int | None
    version_id: Id | None
    effective_from: Instant | None
    mode: str
    price_credits: NotRequired[Exact]
    rounding: NotRequired[str]
    minimum_credits: NotRequired[Exact]
    credits_per_dollar: NotRequired[Exact]
    tokens_per_credit: NotRequired[int]
    markup_percentage: NotRequired[float]
    allowance_usd: NotRequired[Usd | None]
    cost_cap_usd: NotRequired[Usd | None]
    on_failed: NotRequired[str]
    on_cancelled: NotRequired[str]
    on_partly_failed: NotRequired[str]
    policy_percent: NotRequired[int]
    included_tries: NotRequired[int]
    ceiling_credits: NotRequired[Exact]
    allowance_tokens: NotRequired[int]
    on_abandoned: NotRequired[str]


class ReceiptVerdict(TypedDict):
    """How the job ended."""

    status: JobStatus
    closed_by: str | None
    completed_at: Instant | None
    error_message: str | None
    charge: ChargeState
    successful_calls: int
    failed_calls: int


class Receipt(TypedDict):
    """Why a job cost what it cost: its terms, calls, ledger entries and the arithmetic between them."""

    job_id: Id
    team_id: str
    organization_id: str
    user_id: str | None
    job_type: str
    created_at: Instant
    started_at: Instant | None
    verdict: ReceiptVerdict
    pricing: ReceiptPricing | None
    escrow: Escrow | None
    calls: list[ReceiptCall]
    holds: list[ReceiptHold]
    entries: list[ReceiptEntry]
    total_tokens: int
    total_cost_usd: Usd | None
    credits_charged: Exact
    credits_refunded: Exact
    credits_net: Exact
    credits_uncollected: Exact
    arithmetic: list[ReceiptLine]
    explanation: str
    provider_cost_usd: NotRequired[Usd]
    lost_cost_usd: NotRequired[Usd]
    display: NotRequired[Display]
