"""How limits refuse, and what a request about limits can break."""

from apps.core.errors import NotAllowed, NotFound, RateLimited, Unavailable


class RateLimitExceeded(RateLimited):
    """Raised when a call would exceed its requests or tokens a minute, or its calls at a time."""

    message = "Rate limit exceeded"


class SpendLimitReached(NotAllowed):
    """Raised when a job would hold more credits than a limit of its day, week or month leaves."""

    code = "spend_limit_reached"


class LimitsUnavailable(Unavailable):
    """Raised when rates cannot be counted and RATE_LIMITS_WHEN_REDIS_IS_DOWN is `refuse`."""

    code = "limits_unavailable"
    message = "Rate limits cannot be checked at the moment. Try again shortly."


class LimitNotFound(NotFound):
    """Raised when there is no such limit."""

    code = "limit_not_found"
    message = "Limit not found"


class DecisionNotFound(NotFound):
    """Raised when there is no such refusal for the one who asks."""

    code = "decision_not_found"
    message = "Decision not found"
