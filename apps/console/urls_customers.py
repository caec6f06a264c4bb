"""Addresses of organizations, teams and keys."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern


def patterns(at: Callable[[str, Any, str], URLPattern]) -> list[URLPattern]:
    """Actions come before tabs, since both are a word below an object."""
    from apps.console.actions import keys as key_actions
    from apps.console.actions import members as member_actions
    from apps.console.actions import organizations as organization_actions
    from apps.console.actions import provision, state, team_edit
    from apps.console.pages import keys, members, organization, organizations, team, teams

    return [
        at("provision/", provision.Provision, "provision"),
        at(
            "organizations/organization/",
            organizations.OrganizationList,
            "organizations_organization_changelist",
        ),
        at("org/<str:organization_id>/", organization.OrganizationPage, "org"),
        at("org/<str:organization_id>/suspend/", organization_actions.SuspendOrganization, "org_suspend"),
        at("org/<str:organization_id>/resume/", organization_actions.ResumeOrganization, "org_resume"),
        at("org/<str:organization_id>/edit/", organization_actions.EditOrganization, "org_edit"),
        at("org/<str:organization_id>/invite/", member_actions.InviteMember, "org_invite"),
        at("org/<str:organization_id>/member/<str:user_id>/role/", member_actions.ChangeRole, "member_role"),
        at("org/<str:organization_id>/member/<str:user_id>/remove/", member_actions.RemoveMember, "member_remove"),
        at("organizations/membership/", members.MemberList, "organizations_membership_changelist"),
        at("org/<str:organization_id>/<slug:tab>/", organization.OrganizationPage, "org_tab"),
        at("teams/team/", teams.TeamList, "teams_team_changelist"),
        at("team/<str:team_id>/", team.TeamPage, "team"),
        at("team/<str:team_id>/suspend/", state.SuspendTeam, "team_suspend"),
        at("team/<str:team_id>/pause/", state.PauseTeam, "team_pause"),
        at("team/<str:team_id>/resume/", state.ResumeTeam, "team_resume"),
        at("team/<str:team_id>/edit/", team_edit.EditTeam, "team_edit"),
        at("team/<str:team_id>/prices/", team_edit.TeamPrices, "team_prices"),
        at("team/<str:team_id>/issue-key/", key_actions.IssueKey, "team_issue_key"),
        at("team/<str:team_id>/<slug:tab>/", team.TeamPage, "team_tab"),
        at("virtual_keys/virtualkey/", keys.KeyList, "virtual_keys_virtualkey_changelist"),
        at("key/<str:key_id>/", keys.KeyPage, "key"),
        at("key/<str:key_id>/rotate/", key_actions.RotateKey, "key_rotate"),
        at("key/<str:key_id>/revoke/", key_actions.RevokeKey, "key_revoke"),
        at("key/<str:key_id>/<slug:tab>/", keys.KeyPage, "key_tab"),
    ]
