"""/openapi.json, and /docs and /redoc that show it. Public, and served from files of our own: no page asks a CDN."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

# Both bundles write styles; neither needs a script that is not a file of ours. Redoc searches in a worker.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def openapi_json(request: HttpRequest) -> HttpResponse:
    """GET /openapi.json"""
    # Not at the top: it reads every model of the API, which no worker and no call needs.
    from apps.openapi.document import document_json

    return HttpResponse(document_json(), content_type="application/json")


def swagger_ui(request: HttpRequest) -> HttpResponse:
    """GET /docs: to read, and to try requests."""
    return _page(request, "openapi/swagger_ui.html")


def redoc(request: HttpRequest) -> HttpResponse:
    """GET /redoc: to read."""
    return _page(request, "openapi/redoc.html")


def _page(request: HttpRequest, template: str) -> HttpResponse:
    response = render(request, template)
    response["Content-Security-Policy"] = _POLICY
    return response
