"""What the platform needs of a payment provider. Amounts are integers of the currency's minor unit (cents).

A provider is told what to do and tells what happened by signed webhooks: no answer of its own gives credits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    """What an event says."""

    PAID = "paid"
    METHOD_SAVED = "method_saved"
    REQUIRES_ACTION = "requires_action"
    FAILED = "failed"
    EXPIRED = "expired"
    REFUNDED = "refunded"
    REFUND_FAILED = "refund_failed"
    DISPUTED = "disputed"
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentEvent:
    """A verified event. `checkout` and `attempt` are our own ids, as they were given to the provider."""

    id: str
    type: str
    kind: Kind
    payment_id: str = ""
    session_id: str = ""
    checkout: str = ""
    attempt: str = ""
    amount_minor: int | None = None
    currency: str = ""
    refunded_minor: int = 0
    dispute_id: str = ""
    customer_id: str = ""
    method_id: str = ""
    action_url: str = ""
    error_code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutRequest:
    """A page to pay on. `key` makes a repeat return the first page."""

    key: str
    checkout: str
    attempt: str
    description: str
    amount_minor: int
    currency: str
    success_url: str
    cancel_url: str
    saves_method: bool
    customer_id: str


@dataclass(frozen=True, slots=True)
class ProviderCheckout:
    """A page to pay on, as the provider made it."""

    session_id: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeRequest:
    """A charge of a saved method while nobody is there. `key` makes a repeat return the first charge."""

    key: str
    attempt: str
    description: str
    amount_minor: int
    currency: str
    customer_id: str
    method_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeResult:
    """What became of a charge so far: `accepted` (the webhook will tell), `requires_action` or `declined`."""

    state: str
    payment_id: str = ""
    action_url: str = ""
    error_code: str = ""


class PaymentProvider(Protocol):
    """A payment provider. Network errors are ProviderUnavailable, refusals for good ProviderRejected."""

    name: str

    def create_checkout(self, request: CheckoutRequest) -> ProviderCheckout: ...

    def charge_off_session(self, request: ChargeRequest) -> ChargeResult: ...

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> PaymentEvent:
        """The event, once its signature is verified. Raises: WebhookSignatureInvalid, WebhookMalformed."""
        ...
