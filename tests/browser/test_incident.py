"""An incident, in a browser: suspend with a reason, see it on the page, resume."""

import pytest

from apps.teams.models import Team
from tests import make
from tests.browser.conftest import PHONE, WIDE, shoot

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_suspend_and_resume(open_browser, size):
    make.platform_model()
    make.customer(team_id="acme", credits=100)
    page = open_browser("support", size)

    page.goto("/admin/team/acme/")
    page.get_by_role("link", name="Suspend").click()
    page.get_by_label("Reason").fill("chargeback of invoice 17")
    shoot(page, f"suspend-{size['width']}")
    page.get_by_role("button", name="Suspend").click()
    page.wait_for_url("**/team/acme/")

    assert "Suspended: “chargeback of invoice 17”" in page.locator("main").inner_text()
    assert Team.objects.get(team_id="acme").status == "suspended"
    page.get_by_role("link", name="Resume").click()
    page.get_by_label("Reason").fill("paid again")
    page.get_by_role("button", name="Resume").click()
    page.wait_for_url("**/team/acme/")
    assert Team.objects.get(team_id="acme").status == "active"
    shoot(page, f"team-{size['width']}")
