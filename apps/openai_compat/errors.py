"""Errors as OpenAI's clients know them: {"error": {message, type, param, code}}, for everything under /v1.

The categories of `core.errors` become its statuses, types and codes here and nowhere else (docs/openai.md).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from apps.catalog.errors import ModelGroupUnavailable, ModelNotAllowed, NoModelAvailable
from apps.core import errors
from apps.core.bodies import InvalidBody
from apps.core.errors import DomainError, InvalidField
from apps.credits.errors import InsufficientCredits
from apps.jobs.errors import JobCapReached
from apps.limits import gate
from apps.limits.errors import RateLimitExceeded, SpendLimitReached

log = logging.getLogger("saasllm.openai")


class InvalidParameter(errors.InvalidRequest):
    """Raised when a parameter's value is none that we take."""

    code = "invalid_value"

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


class UnsupportedParameter(InvalidParameter):
    """Raised for a parameter that OpenAI knows and that is not offered here."""

    code = "unsupported_parameter"


class AnswerExpired(errors.Conflict):
    """Raised when a repeated request's first answer is past its retention: the call is not made again."""

    code = "content_expired"
    message = "This request was answered before, and the answer is no longer kept. Use a new Idempotency-Key."


class ModelNotFound(errors.NotFound):
    """Raised when the key may use no model of that name, known or not."""

    code = "model_not_found"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a category looks: its status, OpenAI's type, and a code where OpenAI has one of its own for it."""

    status: int
    type: str = "invalid_request_error"
    code: str | None = None


KINDS: dict[type[DomainError], Kind] = {
    errors.InvalidRequest: Kind(400),
    errors.InvalidField: Kind(400),
    # Not 409, which clients repeat.
    errors.IdempotencyConflict: Kind(400),
    errors.NotAuthenticated: Kind(401, code="invalid_api_key"),
    # Not 429, which clients repeat.
    InsufficientCredits: Kind(402, "insufficient_quota", "insufficient_quota"),
    SpendLimitReached: Kind(402, "insufficient_quota"),
    JobCapReached: Kind(402, "insufficient_quota"),
    errors.NotAllowed: Kind(403, "permission_error"),
    ModelNotAllowed: Kind(404, code="model_not_found"),
    ModelGroupUnavailable: Kind(404, code="model_not_found"),
    NoModelAvailable: Kind(404, code="model_not_found"),
    errors.NotFound: Kind(404),
    errors.Conflict: Kind(409),
    errors.TooLarge: Kind(413),
    errors.RateLimited: Kind(429, "rate_limit_error", "rate_limit_exceeded"),
    errors.Failed: Kind(500, "server_error"),
    errors.Unavailable: Kind(503, "server_error"),
}
_MODEL_ERRORS = (ModelNotAllowed, ModelGroupUnavailable, NoModelAvailable, ModelNotFound)
# What clients repeat by themselves, and may well.
_WORTH_A_RETRY = frozenset((429, 500, 503))
# But not these: the operator's to mend.
_FINAL_CODES = frozenset(("provider_configuration",))
# The platform's words for what has another name here.
_PARAMS = {"job_metadata": "metadata", "call_metadata": "metadata"}
_BAD_JSON = frozenset(("json_invalid", "json_depth", "content_type"))


def refusal(error: DomainError, *, is_final: bool = False) -> HttpResponse:
    """A refusal, or a call's failure, as it goes over the wire. `is_final`: a repeat would only have it again."""
    kind = _kind(error)
    message, param, code = _described(error)
    # One that a limit can never admit is told to wait for nothing.
    is_never = isinstance(error, RateLimitExceeded) and error.retry_after_s is None
    is_final = is_final or is_never or kind.status not in _WORTH_A_RETRY or error.code in _FINAL_CODES
    response = _response(kind, message, param=param, code=kind.code or code, is_final=is_final, more=_told(error))
    for name, value in error.headers.items():
        response[name] = value
    if error.retry_after_s:
        response["Retry-After"] = str(error.retry_after_s)
    if kind.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    name_call(response, error.details.get("job_id"), error.details.get("call_id"))
    return response


def described(error: DomainError) -> dict[str, Any]:
    """The same as the body alone, for an error in a stream."""
    kind = _kind(error)
    message, param, code = _described(error)
    error_body = {"message": message, "type": kind.type, "param": param, "code": kind.code or code}
    return {"error": error_body | _told(error)}


def _kind(error: DomainError) -> Kind:
    return next((KINDS[base] for base in type(error).__mro__ if base in KINDS), Kind(500, "server_error"))


def _told(error: DomainError) -> dict[str, Any]:
    """What a refusal says of the limit that refused, beside OpenAI's fields."""
    return {name: error.details[name] for name in (*gate.TOLD, "decision_id") if name in error.details}


def too_large() -> HttpResponse:
    """413 of Django itself."""
    return _response(Kind(413), "The request body is too large.", code="too_large", is_final=True)


def database_away(error: Exception) -> HttpResponse:
    """503 while the database cannot be asked."""
    log.error("database: %s", type(error).__name__)
    message = "The service is temporarily unavailable. Try again shortly."
    response = _response(Kind(503, "server_error"), message, code="unavailable")
    response["Retry-After"] = "2"
    return response


def name_call(response: HttpResponseBase, job_id: object, call_id: object) -> None:
    """Name job and call in the headers, as far as there are any."""
    for name, value in (("job-id", job_id), ("call-id", call_id)):
        if value:
            response[f"x-{name}"] = response[f"x-saasllm-{name}"] = str(value)


def method_not_allowed(request: HttpRequest, allowed: Sequence[str]) -> HttpResponse:
    response = _response(
        Kind(405),
        f"{request.method} is not allowed on {request.path}. Use {' or '.join(allowed)}.",
        code="method_not_supported",
        is_final=True,
    )
    response["Allow"] = ", ".join(allowed)
    return response


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404 for URLs under /v1 that are routed nowhere."""
    message = f"Invalid URL ({request.method} {request.path})"
    return _response(Kind(404), message, code="unknown_url", is_final=True)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400 of Django itself: an unknown host, a malformed request."""
    if isinstance(exception, RequestDataTooBig):
        return too_large()
    return _response(Kind(400), "Bad Request", code="invalid_request", is_final=True)


def server_error(request: HttpRequest) -> HttpResponse:
    """500 of an unhandled exception: logged by Django, told to nobody."""
    return _response(Kind(500, "server_error"), "The server had an error. Try again.", code="failed")


def _described(error: DomainError) -> tuple[str, str | None, str]:
    """Its message, the parameter it is about, and its code."""
    if isinstance(error, InvalidBody):
        return _of_body(error.errors[0])
    if isinstance(error, InvalidField):
        found = error.errors[0]
        return error.message, _param(found["loc"][1:]), "invalid_value"
    if isinstance(error, InvalidParameter):
        return error.message, error.param, error.code
    return error.message, "model" if isinstance(error, _MODEL_ERRORS) else None, error.code


def _of_body(found: dict[str, Any]) -> tuple[str, str | None, str]:
    kind, said = str(found["type"]), str(found["msg"]).removeprefix("Value error, ")
    if kind in _BAD_JSON:
        return said, None, "invalid_json"
    location = found["loc"][1:]
    # Behind a field's name and places in lists stand names of Pydantic's own, of the kinds that it tried.
    named = next((end for end in range(1, len(location)) if not isinstance(location[end], int)), len(location))
    param = _param(location[:named])
    if kind == "missing":
        return f"Missing required parameter: '{param}'.", param, "missing_required_parameter"
    code = "invalid_type" if kind.endswith(("_type", "_parsing")) else "invalid_value"
    return (f"Invalid '{param}': {said}." if param else f"{said}."), param, code


def _param(location: Sequence[str | int]) -> str | None:
    """A place in the body as OpenAI writes it: messages[0].content."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return _PARAMS.get(text, text) or None


def _response(
    kind: Kind,
    message: str,
    *,
    param: str | None = None,
    code: str | None,
    is_final: bool = False,
    more: dict[str, Any] | None = None,
) -> HttpResponse:
    error = {"message": message, "type": kind.type, "param": param, "code": code, **(more or {})}
    response = HttpResponse(orjson.dumps({"error": error}), status=kind.status, content_type="application/json")
    if is_final:
        response["x-should-retry"] = "false"
    return response
