"""Where things are: the pages of objects, and addresses that are empty while nothing stands there."""

from typing import Any
from urllib.parse import urlencode

from django.urls import NoReverseMatch, reverse

from apps.console.pages.base import Button
from apps.organizations.rights import Right


def maybe(route: str, **kwargs: Any) -> str:
    """The address of a route of the console, empty when there is no such page."""
    try:
        return reverse(f"admin:{route}", kwargs={name: str(value) for name, value in kwargs.items()})
    except NoReverseMatch:
        return ""


def listed(route: str, **query: Any) -> str:
    """A list, narrowed by what is given. `route` is a name such as jobs_job."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{reverse(f'admin:{route}_changelist')}?{urlencode(given)}"


def with_query(url: str, **query: Any) -> str:
    """The address of a form with fields filled in; an empty one stays empty."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{url}?{urlencode(given)}" if url and given else url


def team(team_id: str, tab: str = "") -> str:
    if tab:
        return reverse("admin:team_tab", kwargs={"team_id": team_id, "tab": tab})
    return reverse("admin:team", kwargs={"team_id": team_id})


def organization(organization_id: str, tab: str = "") -> str:
    if tab:
        return reverse("admin:org_tab", kwargs={"organization_id": organization_id, "tab": tab})
    return reverse("admin:org", kwargs={"organization_id": organization_id})


def key(key_id: object) -> str:
    return reverse("admin:key", kwargs={"key_id": str(key_id)})


def job(job_id: object) -> str:
    return maybe("job", job_id=job_id)


def call(job_id: object, call_id: object) -> str:
    """A call on its job's page."""
    return f"{job(job_id)}?call={call_id}#call-{call_id}"


def decision(decision_id: object) -> str:
    return maybe("decision", decision_id=decision_id)


def entry(entry_id: object) -> str:
    return maybe("entry", entry_id=entry_id)


def grant(grant_id: object) -> str:
    return maybe("grant", grant_id=grant_id)


def buttons(*wanted: tuple[str, str, Right], **kwargs: Any) -> tuple[Button, ...]:
    """Buttons (label, route, right) of those actions that exist."""
    return tuple(Button(label, url, right) for label, route, right in wanted if (url := maybe(route, **kwargs)))
