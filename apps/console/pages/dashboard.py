"""The first page, and its panels: in ten seconds, is all well and where is the money."""

from typing import Any

from django.db import connection, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from apps.analytics.ranges import Preset
from apps.console.home import asked as asking
from apps.console.home import checklist, panels
from apps.console.pages.base import Page

_STATEMENT_TIMEOUT_MS = 2000


class Dashboard(Page):
    """The shell, with what answers at once; the rest loads by itself. At most 8 queries."""

    template_name = "console/pages/dashboard.html"
    title = "Dashboard"

    def get_context(self, **kwargs: Any) -> dict[str, Any]:
        asked = asking.read(self.request.GET)
        steps = checklist.steps(self.operator)
        query = asked.query()

        def lazy(name: str) -> tuple[str, str, str]:
            url = reverse("admin:panel", kwargs={"name": name})
            return name, f"{url}?{query}" if query else url, panels.PANELS[name].label

        return {
            "asked": asked,
            "steps": [] if steps[-1].is_done else steps,
            "steps_done": sum(step.is_done for step in steps),
            "presets": [
                (each.value, asking.WORDS[each], asked.query(**{"range": each.value, "from": None, "to": None}))
                for each in Preset
            ],
            "compare_query": asked.query(compare="no" if asked.is_compared else None),
            "needs_panel": lazy("needs"),
            "machine_panel": lazy("machine"),
            "number_panels": [lazy("numbers"), lazy("holdings")],
            "chart_panels": [lazy(name) for name in panels.CHARTS],
            "table_panels": [lazy(name) for name in panels.TABLES],
            **panels.machine(),
        }


class DashboardPanel(Page):
    """One panel as a fragment. What goes wrong in it is a 500 that the page shows in the panel's place."""

    def get(self, request: HttpRequest, name: str = "", **kwargs: Any) -> HttpResponse:
        panel = panels.PANELS.get(name)
        if panel is None:
            raise Http404(f"There is no panel '{name}'")
        with transaction.atomic():
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute(f"SET LOCAL statement_timeout = {_STATEMENT_TIMEOUT_MS}")
            asked = asking.read(request.GET)
            context = panel.context(asked, request.GET.get("by", ""))
            return render(request, panel.template, {**context, "panel_name": name, "panel_path": request.path})
