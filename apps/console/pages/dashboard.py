"""The first page."""

from typing import Any

from apps.analytics import overview
from apps.console.pages.base import Page


class Dashboard(Page):
    template_name = "console/pages/dashboard.html"
    title = "Dashboard"

    def get_context(self, **kwargs: Any) -> dict[str, Any]:
        return {"overview": overview.overview()}
