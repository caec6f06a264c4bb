"""The console's site: Django's admin in Unfold's looks, with pages of our own, and refusals that say who can."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils import timezone
from unfold.sites import UnfoldAdminSite

from apps.console import navigation
from apps.core import audit
from apps.core.admin_base import actor_of
from apps.organizations import rights
from apps.organizations.rights import RightMissing


class ConsoleSite(UnfoldAdminSite):  # type: ignore[misc]
    """Every view of it is for operators; who lacks a right is told whose it is, and leaves an audit row."""

    site_header = "SaaS LiteLLM"
    site_title = "SaaS LiteLLM"
    index_title = "Dashboard"
    site_url = None
    enable_nav_sidebar = True

    def extra_urls(self) -> list[URLPattern]:
        from apps.console.urls import patterns

        return patterns(self)

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Callable[..., HttpResponse]:
        inner = super().admin_view(view, cacheable)

        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                response: HttpResponse = inner(request, *args, **kwargs)
            except RightMissing as error:
                response = self.refuse(request, error.message, right=str(error.details.get("right", "")))
            except PermissionDenied:
                role = getattr(request.user, "role", "")
                response = self.refuse(request, f"Your role ({role}) cannot do this.")
            return response

        # Django's marks (csrf_exempt, admin_site …) are on the inner view.
        return update_wrapper(guarded, inner)

    def refuse(self, request: HttpRequest, message: str, *, right: str = "") -> HttpResponse:
        """403 in words, and an audit row of what was tried."""
        audit.refused(right, actor=actor_of(request), kind="page", id=request.path[:255], method=request.method or "")
        context = {**self.each_context(request), "title": "Not allowed", "message": message}
        return TemplateResponse(request, "console/pages/refused.html", context, status=403)

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context: dict[str, Any] = super().each_context(request)
        operator = request.user
        return context | {
            "zone": timezone.get_current_timezone_name(),
            "environment_word": "demo" if settings.EMBEDDED else "",
            "holds": [right.value for right in rights.Right if getattr(operator, "holds", lambda _: False)(right)],
        }

    def get_sidebar_list(self, request: HttpRequest) -> list[dict[str, Any]]:
        return navigation.sidebar(request)

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """At the address that Unfold gives its own search, which comes before our pages."""
        from apps.console.pages.search import Search

        response: HttpResponse = Search.as_view()(request)  # type: ignore[assignment]
        return response

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        from apps.console.pages.dashboard import Dashboard

        response: HttpResponse = Dashboard.as_view()(request)  # type: ignore[assignment]
        return response
