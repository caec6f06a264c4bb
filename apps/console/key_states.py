"""What a key can be: active, about to end, being rotated, revoked, expired."""

from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from apps.virtual_keys.models import VirtualKey

EXPIRING = timedelta(days=7)
UNUSED = timedelta(days=90)
CHOICES = [
    ("usable", "works now"),
    ("expiring", "expires within 7 days"),
    ("rotating", "rotating"),
    ("expired", "expired"),
    ("revoked", "revoked"),
]


def of(key: VirtualKey) -> str:
    """The key's state in a word."""
    now = timezone.now()
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "expired"
    if key.replaced_by_id is not None:
        return "rotating"
    if key.expires_at is not None and key.expires_at <= now + EXPIRING:
        return "expiring"
    return "active"


def usable() -> Q:
    """Keys that work now."""
    return Q(revoked_at__isnull=True) & (Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now()))


def where(state: str) -> Q:
    """Keys in a state of CHOICES."""
    now = timezone.now()
    return {
        "usable": usable(),
        "expiring": usable() & Q(expires_at__lte=now + EXPIRING),
        "rotating": usable() & Q(replaced_by__isnull=False),
        "expired": Q(revoked_at__isnull=True, expires_at__lte=now),
        "revoked": Q(revoked_at__isnull=False),
    }[state]


def unused() -> Q:
    """Working keys that nobody used for 90 days, counted from their making for those never used."""
    since = timezone.now() - UNUSED
    return usable() & Q(created_at__lt=since) & (Q(last_used_at__isnull=True) | Q(last_used_at__lt=since))
