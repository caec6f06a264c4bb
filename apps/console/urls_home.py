"""The dashboard's panels, the platform itself, its people and its settings."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern

At = Callable[[str, Any, str], URLPattern]


def patterns(at: At) -> list[URLPattern]:
    """Actions come before what they would be taken for."""
    from apps.console.actions import platform
    from apps.console.pages import dashboard, system

    return [
        at("panels/<slug:name>/", dashboard.DashboardPanel, "panel"),
        at("system/", system.System, "system"),
        at("system/foundations/", system.Foundations, "system_foundations"),
        at("system/verify/", platform.VerifyLedger, "system_verify"),
    ]
