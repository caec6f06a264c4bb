"""A virtual key as HTTP carries it: `Authorization: Bearer sk-…`."""

from collections.abc import Mapping
from typing import Any

from apps.core.addresses import client_address
from apps.core.errors import NotAuthenticated
from apps.virtual_keys import services
from apps.virtual_keys.services import Principal

NO_KEY = "Missing Authorization header. Expected: 'Authorization: Bearer sk-xxx...'"
BAD_FORM = "Invalid Authorization header format. Expected: 'Authorization: Bearer sk-xxx...'"


def token(meta: Mapping[str, Any]) -> str | None:
    """The token of the Authorization header, None without one. Raises: NotAuthenticated for another form."""
    header = meta.get("HTTP_AUTHORIZATION")
    if not header:
        return None
    parts = str(header).split()
    if len(parts) != 2 or parts[0].lower() != "bearer":
        raise NotAuthenticated(BAD_FORM)
    return parts[1]


def principal(meta: Mapping[str, Any]) -> Principal:
    """Who is behind the request's key. Raises: NotAuthenticated (no key too), AddressNotAllowed."""
    secret = token(meta)
    if secret is None:
        raise NotAuthenticated(NO_KEY)
    return services.authenticate(secret, address=client_address(meta))
