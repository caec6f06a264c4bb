"""What Django answers by itself (unrouted URLs, unhandled exceptions), in the protocol of the edge it happened in."""

from types import ModuleType

from django.http import HttpRequest, HttpResponse

from apps.api import errors as api
from apps.console import not_found as console
from apps.openai_compat import errors as openai


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    page = console.page(request, exception) if hasattr(request, "user") else None
    if page is not None:
        return page
    response: HttpResponse = _edge(request).not_found(request, exception)
    return response


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    response: HttpResponse = _edge(request).bad_request(request, exception)
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    response: HttpResponse = _edge(request).server_error(request)
    return response


def _edge(request: HttpRequest) -> ModuleType:
    return openai if f"{request.path_info}/".startswith("/v1/") else api
