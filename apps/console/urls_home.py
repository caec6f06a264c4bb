"""The dashboard's panels, the platform itself, its people and its settings."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern

At = Callable[[str, Any, str], URLPattern]


def patterns(at: At) -> list[URLPattern]:
    """Actions come before what they would be taken for."""
    from apps.console.actions import platform
    from apps.console.pages import audit, dashboard, system, words

    return [
        at("panels/<slug:name>/", dashboard.DashboardPanel, "panel"),
        at("core/auditentry/", audit.AuditList, "core_auditentry_changelist"),
        at("core/auditentry/<str:object_id>/change/", audit.OldAuditPage, "core_auditentry_change"),
        at("audit/<str:audit_id>/", audit.AuditPage, "audit"),
        at("glossary/", words.Glossary, "glossary"),
        at("rights/", words.Rights, "rights"),
        at("system/", system.System, "system"),
        at("system/foundations/", system.Foundations, "system_foundations"),
        at("system/pause-admission/", platform.PauseAdmission, "admission_pause"),
        at("system/resume-admission/", platform.ResumeAdmission, "admission_resume"),
        at("system/verify/", platform.VerifyLedger, "system_verify"),
    ]
