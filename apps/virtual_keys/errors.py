"""What can be wrong with a presented key or a request about keys."""

from apps.core.errors import InvalidRequest, NotAllowed, NotAuthenticated, NotFound


class InvalidKey(NotAuthenticated):
    """Raised for malformed, unknown, revoked and expired keys alike: which one it was is nobody's business."""

    code = "invalid_api_key"
    message = "Invalid API key"


class AddressNotAllowed(NotAllowed):
    """Raised when a key is used from a network outside its list."""

    code = "address_not_allowed"
    message = "This API key may not be used from this network address."


class ScopeMissing(NotAllowed):
    """Raised when a key lacks the scope that an endpoint needs."""

    code = "scope_missing"


class KeyNotFound(NotFound):
    """Raised when the team has no such key."""

    code = "key_not_found"


class KeyNotUsable(InvalidRequest):
    """Raised when a revoked or expired key is to be rotated."""

    code = "key_not_usable"
