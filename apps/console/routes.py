"""Addresses of pages, also of those that another part of the console has or does not have yet."""

from typing import Any
from urllib.parse import urlencode

from django.urls import NoReverseMatch, reverse


def url_of(route: str, **kwargs: Any) -> str:
    """The address of a page of the console, empty while there is no such page."""
    try:
        return reverse(f"admin:{route}", kwargs={name: str(value) for name, value in kwargs.items()})
    except NoReverseMatch:
        return ""


def listed(route: str, **query: Any) -> str:
    """A list, narrowed by what is given."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{url_of(f'{route}_changelist')}?{urlencode(given)}"


def with_query(url: str, **query: Any) -> str:
    """The address of a form with fields filled in; an empty one stays empty."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{url}?{urlencode(given)}" if url and given else url


def job(job_id: Any) -> str:
    return url_of("job", job_id=job_id)


def call(job_id: Any, call_id: Any) -> str:
    """A call on its job's page."""
    return f"{job(job_id)}?call={call_id}#call-{call_id}"


def decision(decision_id: Any) -> str:
    return url_of("decision", decision_id=decision_id)


def team(team_id: str) -> str:
    return url_of("team", team_id=team_id)


def organization(organization_id: str) -> str:
    return url_of("org", organization_id=organization_id)
