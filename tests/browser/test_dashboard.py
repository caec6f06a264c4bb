"""The dashboard in a browser: its panels load, one that fails fails alone, and a phone shows all of it."""

import pytest
from django.utils import timezone

from apps.analytics import rollups
from apps.console.home import needs, panels
from tests import make
from tests.analytics import rows
from tests.browser.conftest import PHONE, WIDE, shoot

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def busy(db):
    """A team with three jobs of today, rolled up."""
    needs.forget_cached()
    customer = make.customer(team_id="acme", credits=100)
    for number in range(3):
        job = rows.job(customer, "1", ({"cost": 50_000_000, "latency_ms": 1000 * (number + 1)},), job_type="report")
        type(job).objects.filter(pk=job.pk).update(created_at=timezone.now(), completed_at=timezone.now())
        job.calls.update(created_at=timezone.now(), ended_at=timezone.now())
    rollups.fill()


@pytest.mark.parametrize(
    ("size", "scheme"),
    [(WIDE, "light"), (WIDE, "dark"), (PHONE, "light"), (PHONE, "dark")],
    ids=["wide", "wide-dark", "phone", "phone-dark"],
)
def test_all_panels_load(open_browser, busy, size, scheme):
    page = open_browser("viewer", size, scheme)
    page.goto("/admin/")
    for panel in page.locator("[data-panel]").all():
        panel.scroll_into_view_if_needed()
        page.wait_for_function(
            "panel => panel.textContent.trim().length > 12 && !panel.hasAttribute('aria-busy')",
            arg=panel.element_handle(),
        )
    assert page.get_by_text("Could not load").count() == 0
    assert page.locator("canvas").count() >= 4
    assert page.get_by_role("heading", level=1).count() == 1
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= size["width"]
    shoot(page, f"dashboard-{size['width']}-{scheme}")


def test_a_panel_that_fails_leaves_the_others_alone(open_browser, busy):
    page = open_browser("viewer")
    page.route("**/admin/panels/latency/**", lambda route: route.fulfill(status=503, body=""))
    page.goto("/admin/")
    failed = page.locator("[data-panel*='/latency/']")
    failed.scroll_into_view_if_needed()
    failed.get_by_text(f"Could not load {panels.PANELS['latency'].label}.").wait_for()
    page.get_by_text("Jobs by outcome").wait_for()
    open_browser.wrong.clear()

    page.unroute("**/admin/panels/latency/**")
    failed.get_by_role("button", name="Retry").click()
    failed.locator("canvas").wait_for()
