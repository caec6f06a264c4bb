"""Every screen, wide and on a phone, light and dark: axe finds nothing serious, nothing is wider than a phone.

Screenshots go to var/screenshots, for people to look at.
"""

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from apps.credits.models import Entry
from apps.jobs.models import Job
from tests.admin.rows import fill
from tests.browser.conftest import PHONE, WIDE, shoot

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = (
    "/admin/",
    "/admin/provision/",
    "/admin/organizations/organization/",
    "/admin/org/{organization}/",
    "/admin/teams/team/",
    "/admin/team/{team}/",
    "/admin/team/{team}/wallet/",
    "/admin/team/{team}/grant/",
    "/admin/team/{team}/suspend/",
    "/admin/virtual_keys/virtualkey/",
    "/admin/jobs/job/",
    "/admin/job/{job}/",
    "/admin/jobs/call/",
    "/admin/limits/decision/",
    "/admin/credits/entry/",
    "/admin/entry/{entry}/",
    "/admin/credits/grant/",
    "/admin/margin/",
    "/admin/core/auditentry/",
    "/admin/catalog/modelalias/",
    "/admin/profile/",
)
LOOKS = (("wide", WIDE, "light"), ("wide-dark", WIDE, "dark"), ("phone", PHONE, "light"))


def serious(page: Any) -> list[str]:
    """What axe calls serious or critical, with the first place of each."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{each['id']}: {each['help']} at {each['nodes'][0]['target']}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def test_pages_are_accessible_and_fit(open_browser):
    (customer,) = fill(1)
    team = customer.team
    named = {
        "team": team.team_id,
        "organization": team.organization.organization_id,
        "job": Job.objects.filter(team=team).first().pk,
        "entry": Entry.objects.exclude(job="").first().pk,
    }
    pages = [url.format(**named) for url in PAGES]
    wrong = {}
    for name, size, scheme in LOOKS:
        page = open_browser("owner", size, scheme)
        for url in pages:
            answer = page.goto(url)
            page.wait_for_load_state("networkidle")
            assert answer.status == 200, url
            assert page.locator("h1").count() == 1, url
            problems = serious(page)
            width = page.evaluate("document.documentElement.scrollWidth")
            if size is PHONE and width > size["width"]:
                problems.append(f"{width} px wide")
            if problems:
                wrong[f"{name} {url}"] = problems
            shoot(page, f"{re.sub('[^a-z0-9]+', '-', url).strip('-')}-{name}")
    assert wrong == {}
