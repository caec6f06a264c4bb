"""The console's own pages under /admin/. Objects have short singular paths by public id, tabs and actions below them.

A list stands at the path that Django's admin gives its model, in its place.
"""

from typing import TYPE_CHECKING, Any

from django.urls import URLPattern, path

if TYPE_CHECKING:
    from apps.console.site import ConsoleSite


def patterns(site: "ConsoleSite") -> list[URLPattern]:
    """All of them, guarded by the site. Actions come before tabs, since both are a word below an object."""
    from apps.console import urls_customers, urls_home, urls_money, urls_terms, urls_work
    from apps.console.pages import search

    def at(route: str, page: Any, name: str) -> URLPattern:
        return path(route, site.admin_view(page.as_view()), name=name)

    return [
        at("go/<str:public_id>/", search.Go, "go"),
        *urls_money.patterns(at),
        *urls_customers.patterns(at),
        *urls_home.patterns(at),
        *urls_work.patterns(at),
        *urls_terms.patterns(at),
    ]
