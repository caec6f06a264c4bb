"""Errors on the wire: every one is a JSON object with `detail`, for unrouted URLs and our own failures too.

The categories of `core.errors` become statuses here and nowhere else (docs/errors.md).
"""

import logging
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.views import defaults
from psycopg_pool import PoolTimeout
from rest_framework import exceptions
from rest_framework.response import Response

from apps.api.rendering import json_response
from apps.core import errors
from apps.core.errors import DomainError, InvalidField

log = logging.getLogger("saasllm.api")

STATUSES: dict[type[DomainError], int] = {
    errors.InvalidRequest: 400,
    errors.NotAuthenticated: 401,
    errors.NotAllowed: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.InvalidField: 422,
    errors.IdempotencyConflict: 422,
    errors.RateLimited: 429,
    errors.Failed: 500,
    errors.Unavailable: 503,
}
DATABASE_AWAY = "The service is temporarily unavailable. Try again shortly."


def status_of(error: DomainError) -> int:
    """The HTTP status of an error's category."""
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def handle_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's hook. None lets Django log the traceback and answer `server_error`."""
    if isinstance(error, DomainError):
        return domain_error(error)
    if isinstance(error, exceptions.MethodNotAllowed):
        return _respond(405, "Method Not Allowed", headers=_allowed(context))
    if isinstance(error, Http404 | exceptions.NotFound):
        return _respond(404, "Not Found")
    if isinstance(error, RequestDataTooBig):
        return _respond(413, "The request body is too large.")
    if isinstance(error, SuspiciousOperation):
        return _respond(400, "Bad Request")
    if isinstance(error, exceptions.APIException):
        return _respond(error.status_code, str(error.detail))
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        log.error("database: %s", type(error).__name__)
        return _respond(503, DATABASE_AWAY, headers={"Retry-After": "2"})
    return None


def domain_error(error: DomainError) -> Response:
    """A refusal as it goes over the wire: `detail` for people, `code` and the error's own fields for programs."""
    headers = dict(error.headers)
    if error.retry_after_s:
        headers["Retry-After"] = str(error.retry_after_s)
    status = status_of(error)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    detail: Any = error.errors if isinstance(error, InvalidField) else error.message
    response = Response({"detail": detail, "code": error.code, **error.details}, status=status)
    for name, value in headers.items():
        response[name] = value
    return response


def _respond(status: int, detail: str, *, headers: dict[str, str] | None = None) -> Response:
    response = Response({"detail": detail}, status=status)
    for name, value in (headers or {}).items():
        response[name] = value
    return response


def _allowed(context: dict[str, Any]) -> dict[str, str]:
    view = context.get("view")
    return {"Allow": ", ".join(view.allowed_methods)} if view is not None else {}


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404 for URLs that are routed nowhere: JSON, but for the admin site's pages."""
    if _is_page(request):
        return defaults.page_not_found(request, exception)
    return json_response({"detail": "Not Found"}, status=404)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400 of Django itself: an unknown host, a malformed request."""
    if _is_page(request):
        return defaults.bad_request(request, exception)
    status = 413 if isinstance(exception, RequestDataTooBig) else 400
    return json_response({"detail": "Bad Request"}, status=status)


def server_error(request: HttpRequest) -> HttpResponse:
    """500 of an unhandled exception: logged by Django, told to nobody."""
    if _is_page(request):
        return defaults.server_error(request)
    return json_response({"detail": "Internal Server Error"}, status=500)


def _is_page(request: HttpRequest) -> bool:
    return request.path_info.startswith("/admin")
