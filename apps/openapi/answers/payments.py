"""Answers about payments."""

from typing import NotRequired

from typing_extensions import TypedDict

from apps.openapi.answers.shared import Page
from apps.openapi.kinds import CheckoutState, Credits, DisputeState, Id, Instant, TopUpState, WebhookOutcome


class Checkout(TypedDict):
    """A page to pay on. `url` is null until the provider has made it."""

    checkout_id: Id | None
    url: str | None
    state: CheckoutState
    pack_id: Id
    credits: Credits
    amount: int
    currency: str
    save_payment_method: bool
    created_at: Instant


class WebhookReceived(TypedDict):
    """What became of a payment provider's event."""

    received: bool
    outcome: WebhookOutcome


class Pack(TypedDict):
    """Credits for sale."""

    pack_id: Id
    name: str
    credits: Credits
    amount: int
    currency: str
    is_active: bool
    created_at: Instant


class Dispute(TypedDict):
    """A payment that its customer disputes."""

    dispute_id: str
    state: DisputeState
    reason: str | None


class Payment(TypedDict):
    """A payment and the credits it gave. Its amount is null until it is known."""

    payment_id: str
    provider: str
    status: str
    amount: int | None
    currency: str
    amount_refunded: int
    credits: Credits | None
    transaction_id: Id | None
    checkout_id: Id | None
    top_up_attempt_id: Id | None
    disputes: list[Dispute]
    paid_at: Instant | None


class Payments(Page):
    """A page of a team's payments, newest first."""

    team_id: str
    payments: list[Payment]


class Packs(Page):
    """The packs for sale."""

    packs: list[Pack]


class TopUpAttempt(TypedDict):
    """One automatic top-up."""

    attempt_id: Id
    state: TopUpState
    credits: Credits
    amount: int
    currency: str
    payment_id: str | None
    action_url: str | None
    error_code: str | None
    created_at: Instant
    ended_at: Instant | None


class TopUp(TypedDict):
    """A team's consent to automatic top-ups, its ceiling and a page of the attempts."""

    team_id: str
    enabled: bool
    disabled_reason: NotRequired[str | None]
    threshold_credits: NotRequired[int]
    pack_id: NotRequired[Id]
    credits: NotRequired[Credits]
    amount: NotRequired[int]
    currency: NotRequired[str]
    monthly_ceiling: NotRequired[int]
    spent_this_month: NotRequired[int]
    return_url: NotRequired[str]
    consented_by: NotRequired[str]
    consented_at: NotRequired[Instant]
    next_attempt_at: NotRequired[Instant | None]
    total_attempts: int
    attempts: list[TopUpAttempt]
