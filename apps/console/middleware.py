"""What every answer under /admin/ carries: a content security policy, and that nobody keeps it.

The policy is the console's alone. Alpine, on which Unfold's pages stand, evaluates expressions, so that scripts need
`unsafe-eval`; styles are set inline by it and by charts. Scripts come from our own files alone.
"""

from collections.abc import Callable
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.template.response import SimpleTemplateResponse
from django.utils import timezone

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
)
ZONE_COOKIE = "console_zone"


class ConsoleMiddleware:
    """Nothing for other paths but one comparison."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith("/admin"):
            return self.get_response(request)
        with timezone.override(zone_of(request)):
            response = self.get_response(request)
            if isinstance(response, SimpleTemplateResponse) and not response.is_rendered:
                # Templates write times, so they are rendered while the zone is set.
                response = response.render()
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers["Cache-Control"] = "no-store"
        response.headers.setdefault("Referrer-Policy", "same-origin")
        return response


def zone_of(request: HttpRequest) -> ZoneInfo:
    """In which zone instants are shown: the operator's, else the browser's, else UTC."""
    user = getattr(request, "user", None)
    for name in (getattr(user, "time_zone", ""), request.COOKIES.get(ZONE_COOKIE, "")):
        if name:
            try:
                return ZoneInfo(name)
            except (ValueError, OSError, KeyError):
                continue
    return ZoneInfo("UTC")
