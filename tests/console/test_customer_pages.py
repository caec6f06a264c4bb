"""Organizations, teams and keys: every list, page and tab opens, in a number of queries that does not grow."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core import settings_store
from apps.virtual_keys.models import VirtualKey
from tests.admin.rows import fill
from tests.console.conftest import text_of

# Session and user come on top of a page's own.
SIGN_IN = 2
LIST_MAX, PAGE_MAX = 8 + SIGN_IN, 10 + SIGN_IN
LISTS = [
    "/admin/organizations/organization/",
    "/admin/teams/team/",
    "/admin/virtual_keys/virtualkey/",
    "/admin/organizations/membership/",
]
TEAM_TABS = ["", "wallet", "keys", "models", "limits", "rate-cards", "jobs", "refusals", "activity"]
ORG_TABS = [
    "",
    "teams",
    "pool",
    "members",
    "limits",
    "rate-cards",
    "credentials",
    "statements",
    "settings",
    "activity",
]
KEY_TABS = ["", "limits", "activity"]


def queries(browser, url) -> int:
    settings_store.everything()
    with CaptureQueriesContext(connection) as captured:
        page = browser.get(url)
    assert page.status_code == 200
    assert text_of(page).count("<h1") == 1
    # Settings are read again when what a process knows of them is old.
    return len([query for query in captured if '"core_setting"' not in query["sql"]])


@pytest.mark.parametrize("url", LISTS)
def test_list_takes_as_many_queries_for_few_rows_as_for_many(ana, url):
    fill(1)
    ana.get(url)
    few = queries(ana, url)
    fill(5)
    assert queries(ana, url) == few
    assert few <= LIST_MAX


def tab_url(base: str, tab: str) -> str:
    return f"{base}{tab}/" if tab else base


@pytest.mark.parametrize("tab", TEAM_TABS)
def test_team_tab(ana, tab):
    customer = fill(1)[0]
    url = tab_url(f"/admin/team/{customer.team.team_id}/", tab)
    ana.get(url)
    assert queries(ana, url) <= PAGE_MAX + 4


@pytest.mark.parametrize("tab", ORG_TABS)
def test_organization_tab(ana, tab):
    customer = fill(1)[0]
    url = tab_url(f"/admin/org/{customer.organization.organization_id}/", tab)
    ana.get(url)
    assert queries(ana, url) <= PAGE_MAX + 4


@pytest.mark.parametrize("tab", KEY_TABS)
def test_key_tab(ana, tab):
    customer = fill(1)[0]
    url = tab_url(f"/admin/key/{VirtualKey.objects.filter(team=customer.team).first().pk}/", tab)
    ana.get(url)
    assert queries(ana, url) <= PAGE_MAX + 4


@pytest.mark.parametrize(
    "url",
    [
        "/admin/org/nobody/",
        "/admin/team/nobody/",
        "/admin/key/nobody/",
        "/admin/key/0192e4a0-0000-7000-8000-000000000000/",
        "/admin/team/acme/none/",
    ],
)
def test_what_does_not_exist_is_not_found(ana, acme, url):
    assert ana.get(url).status_code == 404
