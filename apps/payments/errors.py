"""Rules of payments that a request can break, and what can go wrong at a payment provider."""

from apps.core.errors import Failed, InvalidRequest, NotFound, Unavailable


class PaymentsNotConfigured(InvalidRequest):
    """Raised when the installation has no payment provider, or none for this."""

    code = "payments_not_configured"
    message = "Payments are not configured. An operator sets STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET."


class WebhookSignatureInvalid(InvalidRequest):
    """Raised when a webhook was not signed by the provider, or too long ago."""

    code = "webhook_signature_invalid"
    message = "The webhook's signature is missing, wrong or too old."


class WebhookMalformed(InvalidRequest):
    """Raised when a signed webhook is none of the provider's events."""

    code = "webhook_malformed"
    message = "The webhook is no event of the payment provider."


class CreditPackNotFound(NotFound):
    """Raised when there is no such credit pack, or it is not sold any more."""

    code = "credit_pack_not_found"


class CheckoutNotFound(NotFound):
    """Raised when the team has no such checkout."""

    code = "checkout_not_found"


class PaymentMethodMissing(InvalidRequest):
    """Raised when a team wants top-ups and has saved no payment method."""

    code = "payment_method_missing"
    message = "There is no saved payment method. Pay one checkout with save_payment_method first."


class ProviderUnavailable(Unavailable):
    """Raised when the payment provider cannot be reached or does not answer: whether it acted is unknown."""

    code = "payment_provider_unavailable"
    message = "The payment provider cannot be reached. Try again with the same Idempotency-Key."


class ProviderRejected(Failed):
    """Raised when the payment provider refuses a request for good. `reason` is its code."""

    code = "payment_provider_rejected"
    message = "The payment provider refused the request."

    def __init__(self, reason: str = "") -> None:
        super().__init__()
        self.reason = reason


class CurrencyRateMissing(InvalidRequest):
    """Raised when amounts are to be shown in a currency that has no rate in force."""

    code = "currency_rate_missing"


class CurrencyRateExists(InvalidRequest):
    """Raised when a currency has another rate from the same instant on."""

    code = "currency_rate_exists"
