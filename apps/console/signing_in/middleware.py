"""What signing in needs around each page for people; requests of the API pass by for one comparison.

A session ends after `session_idle_min` minutes without a request. It is touched at most twice a minute, so that pages
do not write at each request; requests with the header X-Background (polling panels) do not touch it.
"""

import time
from collections.abc import Callable

from allauth.account.middleware import AccountMiddleware
from allauth.usersessions.models import UserSession
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from apps.console.signing_in import policy
from apps.core import settings_store

PREFIXES = ("/admin", "/portal")
SEEN = "seen"
TOUCH_EVERY_S = 30

GetResponse = Callable[[HttpRequest], HttpResponse]


class SigningInMiddleware:
    """allauth's middleware, the end of idle sessions and of second factors that are missing; no answer is kept."""

    def __init__(self, get_response: GetResponse) -> None:
        self._pass = get_response
        self._accounts = AccountMiddleware(self._page)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PREFIXES):
            return self._pass(request)
        response: HttpResponse = self._accounts(request)
        response.headers["Cache-Control"] = "no-store"
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """allauth interrupts views by exceptions: to ask for the password again, to answer at once."""
        if not request.path_info.startswith(PREFIXES):
            return None
        answer: HttpResponse | None = self._accounts.process_exception(request, exception)
        return answer

    def _page(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated:
            if _is_over(request):
                request.session["ended"] = "idle"
                logout(request)
            else:
                _touch(request)
                if policy.lacks_second_factor(request):
                    return HttpResponseRedirect(reverse("mfa_index"))
        return self._pass(request)


def seen_now(request: HttpRequest) -> None:
    """Begin the session's idle time anew."""
    request.session[SEEN] = int(time.time())


def _is_over(request: HttpRequest) -> bool:
    seen = request.session.get(SEEN)
    # A touch comes up to TOUCH_EVERY_S after the request before it: nobody is cut short by that.
    allowed_s = settings_store.get("session_idle_min") * 60 + TOUCH_EVERY_S
    return isinstance(seen, int) and time.time() - seen > allowed_s


def _touch(request: HttpRequest) -> None:
    seen = request.session.get(SEEN)
    if "X-Background" in request.headers or (isinstance(seen, int) and time.time() - seen < TOUCH_EVERY_S):
        return
    seen_now(request)
    UserSession.objects.filter(session_key=request.session.session_key).update(last_seen_at=timezone.now())
