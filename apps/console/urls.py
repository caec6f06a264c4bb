"""The console's own pages under /admin/. Objects have short singular paths by public id, tabs and actions below them.

A list stands at the path that Django's admin gives its model, in its place.
"""

from typing import TYPE_CHECKING, Any

from django.urls import URLPattern, path

if TYPE_CHECKING:
    from apps.console.site import ConsoleSite


def patterns(site: "ConsoleSite") -> list[URLPattern]:
    """All of them, guarded by the site. Actions come before tabs, since both are a word below an object."""
    from apps.console import urls_terms
    from apps.console.actions import state
    from apps.console.pages import search, teams

    def at(route: str, page: Any, name: str) -> URLPattern:
        return path(route, site.admin_view(page.as_view()), name=name)

    return [
        at("search/", search.Search, "search"),
        at("go/<str:public_id>/", search.Go, "go"),
        at("teams/team/", teams.TeamList, "teams_team_changelist"),
        at("team/<str:team_id>/", teams.TeamPage, "team"),
        at("team/<str:team_id>/suspend/", state.SuspendTeam, "team_suspend"),
        at("team/<str:team_id>/pause/", state.PauseTeam, "team_pause"),
        at("team/<str:team_id>/resume/", state.ResumeTeam, "team_resume"),
        at("team/<str:team_id>/<slug:tab>/", teams.TeamPage, "team_tab"),
        *urls_terms.patterns(at),
    ]
