"""Where things are: the pages of objects, and addresses that are empty while nothing stands there."""

from typing import Any
from urllib.parse import urlencode

from django.urls import NoReverseMatch, reverse

from apps.console.pages.base import Button
from apps.organizations.rights import Right


def maybe(route: str, **kwargs: Any) -> str:
    """The address of a route of the console, empty when there is no such page."""
    try:
        return reverse(f"admin:{route}", kwargs=kwargs)
    except NoReverseMatch:
        return ""


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


def of_row(route: str, model: str, name: str, pk: object) -> str:
    """A row's page in the console, else its plain page. `model` is a name such as jobs_job."""
    return maybe(route, **{name: str(pk)}) or reverse(f"admin:{model}_change", args=[pk])


def job(job_id: object) -> str:
    return of_row("job", "jobs_job", "job_id", job_id)


def decision(decision_id: object) -> str:
    return of_row("decision", "limits_decision", "decision_id", decision_id)


def entry(entry_id: object) -> str:
    return of_row("entry", "credits_entry", "entry_id", entry_id)


def grant(grant_id: object) -> str:
    return of_row("grant", "credits_grant", "grant_id", grant_id)


def rows(model: str, **query: Any) -> str:
    """A list under filters. `model` is a name such as jobs_job."""
    return f"{reverse(f'admin:{model}_changelist')}?{urlencode(query)}"


def buttons(*wanted: tuple[str, str, Right], **kwargs: Any) -> tuple[Button, ...]:
    """Buttons (label, route, right) of those actions that exist."""
    return tuple(Button(label, url, right) for label, route, right in wanted if (url := maybe(route, **kwargs)))
