"""Which payment provider this installation has."""

from django.conf import settings

from apps.payments import stripe
from apps.payments.errors import PaymentsNotConfigured
from apps.payments.interface import PaymentProvider


def is_configured() -> bool:
    """Whether money can be taken: the key, and the secret without which no payment would ever be believed."""
    return bool(settings.STRIPE_SECRET_KEY and settings.STRIPE_WEBHOOK_SECRETS)


def provider() -> PaymentProvider:
    """Raises: PaymentsNotConfigured."""
    if not is_configured():
        raise PaymentsNotConfigured
    return stripe.Stripe(
        secret_key=settings.STRIPE_SECRET_KEY,
        webhook_secrets=settings.STRIPE_WEBHOOK_SECRETS,
        api_base=settings.STRIPE_API_BASE,
    )
