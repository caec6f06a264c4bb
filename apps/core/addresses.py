"""Where a request comes from, behind as many proxies as the operator says are his."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings


def client_address(meta: Mapping[str, Any]) -> str:
    """The client's network address, at most 64 characters.

    With TRUSTED_PROXIES = n it is the n-th entry of X-Forwarded-For from the right: what stands further left is the
    client's own word.
    """
    if settings.TRUSTED_PROXIES > 0:
        forwarded = [part.strip() for part in str(meta.get("HTTP_X_FORWARDED_FOR", "")).split(",") if part.strip()]
        if len(forwarded) >= settings.TRUSTED_PROXIES:
            return str(forwarded[-settings.TRUSTED_PROXIES])[:64]
    return str(meta.get("REMOTE_ADDR", ""))[:64]
