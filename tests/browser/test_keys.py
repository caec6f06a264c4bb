"""A key's rotation, in a browser: a new one beside the old, then the old one is revoked."""

import pytest

from apps.virtual_keys.models import VirtualKey
from tests import make
from tests.browser.conftest import PHONE, WIDE, shoot

pytestmark = pytest.mark.django_db(transaction=True)


def status_of(page, live_server, secret: str) -> int:
    """What a read with this key answers."""
    headers = {"Authorization": f"Bearer {secret}"}
    return page.request.get(f"{live_server.url}/api/teams/acme", headers=headers).status


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_rotate_then_revoke(open_browser, live_server, size):
    make.platform_model()
    customer = make.customer(team_id="acme", credits=100)
    page = open_browser("support", size)

    page.goto("/admin/team/acme/keys/")
    page.get_by_role("link", name="first key").click()
    page.get_by_role("link", name="Rotate").click()
    page.get_by_label("Reason").fill("the customer asked")
    page.get_by_label("Old key works for").fill("1")
    page.locator("#console-preview").get_by_text("works 1 h more").wait_for()
    shoot(page, f"rotate-{size['width']}")
    page.get_by_role("button", name="Rotate").click()
    page.get_by_role("heading", name="was rotated").wait_for()
    new = page.locator("#secret").inner_text()
    shoot(page, f"rotated-{size['width']}")
    assert status_of(page, live_server, new) == status_of(page, live_server, customer.secret) == 200

    page.get_by_label("I have stored it").check()
    page.goto("/admin/virtual_keys/virtualkey/?state=rotating")
    page.get_by_role("link", name="first key").click()
    assert "Rotating: it works until" in page.locator("main").inner_text()
    page.get_by_role("link", name="Revoke").click()
    assert "the last use" in page.locator("#console-preview").inner_text()
    page.get_by_label("Reason").fill("replaced by the new one")
    page.get_by_role("button", name="Revoke").click()
    page.get_by_text("Whoever presents it is refused.").wait_for()
    shoot(page, f"revoked-{size['width']}")

    assert status_of(page, live_server, customer.secret) == 401
    assert status_of(page, live_server, new) == 200
    assert VirtualKey.objects.filter(revoked_at__isnull=False).get().name == "first key"
