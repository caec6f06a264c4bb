"""The dashboard's panels, the platform itself, its people and its settings."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern

At = Callable[[str, Any, str], URLPattern]


def patterns(at: At) -> list[URLPattern]:
    """Actions come before what they would be taken for."""
    from apps.console.actions import people, platform
    from apps.console.pages import audit, dashboard, operators, settings, system, words

    return [
        at("panels/<slug:name>/", dashboard.DashboardPanel, "panel"),
        at("core/auditentry/", audit.AuditList, "core_auditentry_changelist"),
        at("operator/invite/", people.InviteOperator, "operator_invite"),
        at("operator/<str:operator_id>/", operators.OperatorPage, "operator"),
        at("operator/<str:operator_id>/role/", people.ChangeRole, "operator_role"),
        at("operator/<str:operator_id>/deactivate/", people.DeactivateOperator, "operator_deactivate"),
        at("operator/<str:operator_id>/activate/", people.ActivateOperator, "operator_activate"),
        at("operator/<str:operator_id>/issue-token/", people.IssueToken, "operator_issue_token"),
        at("operator/<str:operator_id>/token/<str:token_id>/revoke/", people.RevokeToken, "operator_revoke_token"),
        at("organizations/user/", operators.OperatorList, "organizations_user_changelist"),
        at("settings/", settings.SettingsPage, "settings"),
        at("settings/<slug:name>/change/", settings.ChangeSetting, "setting_change"),
        at("audit/<str:audit_id>/", audit.AuditPage, "audit"),
        at("glossary/", words.Glossary, "glossary"),
        at("rights/", words.Rights, "rights"),
        at("system/", system.System, "system"),
        at("system/foundations/", system.Foundations, "system_foundations"),
        at("system/pause-admission/", platform.PauseAdmission, "admission_pause"),
        at("system/resume-admission/", platform.ResumeAdmission, "admission_resume"),
        at("system/verify/", platform.VerifyLedger, "system_verify"),
    ]
