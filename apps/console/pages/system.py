"""System: what waits, who works, whether the ledger adds up, and what the platform stands on."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from apps.analytics.machine_room import machine_room
from apps.console import platform
from apps.console.home.panels import UpTo
from apps.console.pages.base import Button, Page
from apps.organizations.rights import Right


class System(Page):
    template_name = "console/pages/system.html"
    title = "System"

    def buttons(self) -> Sequence[Button]:
        return (Button("Verify the ledger", reverse("admin:system_verify"), Right.SYSTEM_RUN),)

    def get_context(self, **kwargs: Any) -> dict[str, Any]:
        machine = machine_room()
        checks = platform.verifications()
        return {
            "machine": machine,
            "is_late": platform.is_late(machine.swept_at),
            "up_to": UpTo(machine.figures_until),
            "queue": platform.queue(),
            "expired_leases": platform.expired_leases(),
            "processes": platform.processes(),
            "checks": checks,
            "found": checks[0].data.get("found", []) if checks else [],
            "schedules": platform.schedules(),
            "tables": platform.tables(),
            "oldest_content_at": platform.oldest_content_at(),
            "retention_h": settings.PAYLOAD_RETENTION_H,
        }


class Foundations(Page):
    """The panel of what is asked outside the database: dependencies, versions, configuration."""

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        context = {
            "dependencies": platform.dependencies(),
            "versions": platform.versions(),
            "configuration": platform.configuration(),
        }
        return render(request, "console/pages/system/foundations.html", context)
