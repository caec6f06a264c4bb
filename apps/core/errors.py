"""What can go wrong, in categories. Each app subclasses one per broken rule; each edge maps categories to its
protocol. A `code` is public: it is listed in docs/errors.md and never renamed."""

from typing import Any


class DomainError(Exception):
    """A rule was broken by what was asked.

    `message` is for the client, free of secrets, hosts and provider texts. `details` are machine-readable. `headers`
    go with the answer over HTTP.
    """

    code = "error"
    message = "The request was refused."

    def __init__(self, message: str | None = None, *, retry_after_s: int | None = None, **details: Any) -> None:
        self.message = message or self.message
        self.retry_after_s = retry_after_s
        self.details = details
        self.headers: dict[str, str] = {}
        super().__init__(self.message)


class InvalidRequest(DomainError):
    """A business rule refuses the request (400)."""

    code = "invalid_request"


class NotAuthenticated(DomainError):
    """Nobody known asks (401)."""

    code = "not_authenticated"


class NotAllowed(DomainError):
    """The one who asks may not (403)."""

    code = "not_allowed"


class NotFound(DomainError):
    """There is no such thing for the one who asks (404)."""

    code = "not_found"
    message = "Not Found"


class Conflict(DomainError):
    """The thing's state does not admit this (409)."""

    code = "conflict"


class TooLarge(DomainError):
    """What was sent is larger than a stated limit (413)."""

    code = "too_large"


class InvalidField(DomainError):
    """A field of the request is missing or wrong (422)."""

    code = "invalid_field"

    def __init__(self, field: str, message: str, *, value: Any = None, kind: str = "value_error") -> None:
        super().__init__(message)
        self.errors: list[dict[str, Any]] = [
            {
                "type": kind,
                "loc": ["body", *field.split(".")] if field else ["body"],
                "msg": message,
                "input": value,
            }
        ]


class RateLimited(DomainError):
    """Too much in too short a time (429)."""

    code = "rate_limited"


class Unavailable(DomainError):
    """It may work later (503)."""

    code = "unavailable"


class Failed(DomainError):
    """Something behind us failed (500)."""

    code = "failed"


class IdempotencyConflict(DomainError):
    """An idempotency key was used before for another request (422)."""

    code = "idempotency_conflict"
    message = "This Idempotency-Key was used before with another request. Use a new key."
