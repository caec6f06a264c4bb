"""A new customer, in a browser: provision, run the commands that are shown, see the charge."""

import re

import pytest

from apps.jobs.models import Job
from apps.organizations.models import Organization
from apps.virtual_keys.models import VirtualKey
from tests import make
from tests.browser.conftest import PHONE, WIDE, shoot

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_provision_to_first_charge(open_browser, worker, live_server, size):
    make.platform_model()
    page = open_browser("admin", size)
    page.goto("/admin/provision/")

    page.get_by_label("Name of the organization").fill("Acme & Söhne")
    assert page.get_by_label("Organization id").input_value() == "acme-sohne"
    assert page.get_by_label("Team id").input_value() == "acme-sohne-main"
    page.locator("#console-preview").get_by_text("100 paid").wait_for()
    shoot(page, f"provision-{size['width']}")
    page.get_by_role("button", name="Create customer").click()
    page.get_by_role("heading", name="acme-sohne-main can call.").wait_for()

    secret = page.locator("#secret")
    assert "c-masked" in secret.get_attribute("class")
    page.get_by_role("button", name="Show", exact=True).click()
    assert "c-masked" not in secret.get_attribute("class")
    key = secret.inner_text()
    page.get_by_role("button", name="Copy the commands").click()
    commands = page.evaluate("navigator.clipboard.readText()")
    shoot(page, f"provisioned-{size['width']}")
    assert f"api={live_server.url}/api" in commands
    assert f"Bearer {key}" in commands

    run(page, commands, key)
    assert [(job.status, job.charged_micros) for job in Job.objects.all()] == [("completed", 1_000_000)]

    page.get_by_label("I have stored it").check()
    page.get_by_role("link", name="Open team").click()
    page.wait_for_url("**/team/acme-sohne-main/")
    assert "99 credits available" in page.locator("main").inner_text()
    shoot(page, f"customer-{size['width']}")
    assert (Organization.objects.count(), VirtualKey.objects.count()) == (1, 1)


def run(page, commands: str, key: str) -> None:
    """What the commands do, in their order."""
    paths = re.findall(r"\$api(\S+)", commands)
    bodies = re.findall(r"-d '([^']+)'", commands)
    api = re.search(r"api=(\S+)", commands)[1]
    assert len(paths) == len(bodies) == 3
    job_id = ""
    for path, body in zip(paths, bodies, strict=True):
        answer = page.request.post(
            f"{api}{path.replace('$job', job_id)}",
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            data=body,
        )
        assert answer.ok, answer.text()
        job_id = answer.json().get("job_id", job_id)


def test_leaving_before_the_key_is_stored_asks(open_browser):
    make.platform_model()
    page = open_browser("owner")
    page.goto("/admin/provision/")
    page.get_by_label("Name of the organization").fill("Acme")
    page.get_by_role("button", name="Create customer").click()
    page.get_by_role("heading", name="acme-main can call.").wait_for()
    asked: list[str] = []

    def stay(dialog):
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.get_by_role("link", name="Open team").click()
    page.get_by_role("heading", name="acme-main can call.").wait_for()
    assert asked == ["beforeunload"]


def test_taken_id_is_said_while_typing_and_beside_its_field(open_browser):
    make.platform_model()
    make.customer(team_id="acme")
    page = open_browser("owner")
    page.goto("/admin/provision/")
    page.get_by_label("Name of the organization").fill("Acme")
    page.get_by_label("Team id").fill("acme")
    page.get_by_text("The team id acme is taken.").wait_for()
    page.get_by_role("button", name="Create customer").click()
    page.get_by_role("heading", name="There is a problem").wait_for()
    assert "is taken" in page.locator("#id_team_id_error").inner_text()
    assert page.get_by_label("Name of the organization").input_value() == "Acme"
    assert not Organization.objects.filter(organization_id="acme").exists()
