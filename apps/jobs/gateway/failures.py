"""The failures that routes share, as clients may read them: without a host, a secret or a provider's text.

Invariant: what is on none of the lists below is a plain 500.
"""

import orjson

from apps.jobs.gateway.interface import GatewayError

# How LiteLLM spells a wrong key or an unknown model with status 400 or 500 (seen with 1.106.2).
_OUR_FAULT = (
    "no_db_connection",
    "no connected db",
    "invalid model name",
    "no api key passed in",
    "llm provider not provided",
)
_CONTENT_FILTER = ("content_filter", "contentpolicy", "content management policy")
_TOO_LONG = ("context_length_exceeded", "contextwindowexceeded", "maximum context length", "context window")
_DEFAULT_RETRY_S = 5


def misconfigured() -> GatewayError:
    """Our own credential, address or model name is wrong: not the caller's fault."""
    return GatewayError("provider_configuration", "the model is not available", status=503, retry_after_s=30)


def unreachable() -> GatewayError:
    return GatewayError(
        "provider_unavailable",
        "the model backend cannot be reached",
        status=503,
        is_retryable=True,
        retry_after_s=2,
    )


def timed_out() -> GatewayError:
    return GatewayError(
        "provider_timeout", "the model backend did not answer in time", status=503, is_retryable=True,
        retry_after_s=2, was_executed=True,
    )  # fmt: skip


def broken_off() -> GatewayError:
    return GatewayError(
        "provider_unavailable", "the model backend broke off", status=503, is_retryable=True,
        retry_after_s=2, was_executed=True,
    )  # fmt: skip


def malformed() -> GatewayError:
    return GatewayError(
        "provider_malformed", "the model backend's answer cannot be read", status=500, is_retryable=True,
        was_executed=True,
    )  # fmt: skip


def too_large() -> GatewayError:
    return GatewayError(
        "provider_malformed", "the model backend's answer is too large", status=500, was_executed=True
    )


def rejected() -> GatewayError:
    return GatewayError("provider_rejected", "the model rejected the request as invalid", status=400)


def too_long() -> GatewayError:
    return GatewayError("context_length_exceeded", "the request is longer than what the model can take", status=400)


def by_status(status: int, said: str, *, retry_after_s: int = _DEFAULT_RETRY_S) -> GatewayError:
    """The failure behind a status. `said` is the provider's text, only searched for known words."""
    said = said.lower()
    if status in (400, 500) and any(text in said for text in _OUR_FAULT):
        return misconfigured()
    if status == 400 and any(text in said for text in _CONTENT_FILTER):
        return _filtered(was_executed=False)
    if status in (400, 413, 422) and any(text in said for text in _TOO_LONG):
        return too_long()
    if status in (400, 413, 422):
        return rejected()
    if status in (401, 403, 404):
        return misconfigured()
    if status == 429:
        return _rate_limited(retry_after_s, was_executed=False)
    if status in (408, 502, 503, 504, 529):
        return GatewayError(
            "provider_unavailable", "the model backend is unavailable", status=503, is_retryable=True,
            retry_after_s=retry_after_s,
        )  # fmt: skip
    return _error(is_retryable=status >= 500)


def reported(error: object) -> GatewayError:
    """The failure that an answer or a stream of status 200 tells of in its `error`. The model may have worked."""
    try:
        said = orjson.dumps(error)[:4000].decode(errors="replace").lower()
    except orjson.JSONEncodeError:
        said = ""
    if any(text in said for text in _CONTENT_FILTER):
        return _filtered(was_executed=True)
    code = error.get("code") if isinstance(error, dict) else None
    if code in (429, "429"):
        return _rate_limited(_DEFAULT_RETRY_S, was_executed=True)
    return _error(is_retryable=True)


def retry_after(text: str | None) -> int:
    """Seconds of a Retry-After header, 1 to 300; 5 when there is none or it is a date."""
    text = text or ""
    return min(max(int(text), 1), 300) if text.isdecimal() and len(text) < 10 else _DEFAULT_RETRY_S


def _filtered(*, was_executed: bool) -> GatewayError:
    return GatewayError(
        "content_filter", "the content was refused by the model's filter", status=400, was_executed=was_executed
    )


def _rate_limited(retry_after_s: int, *, was_executed: bool) -> GatewayError:
    return GatewayError(
        "provider_rate_limited", "the model is rate limited, try again later", status=429, is_retryable=True,
        retry_after_s=retry_after_s, was_executed=was_executed,
    )  # fmt: skip


def _error(*, is_retryable: bool) -> GatewayError:
    return GatewayError(
        "provider_error", "the model backend reported an error", status=500, is_retryable=is_retryable,
        was_executed=True,
    )  # fmt: skip
