"""Walks 7 and 10 in a browser: a grant whose preview a charge makes untrue, and a job refunded once."""

import pytest

from apps.core.models import AuditEntry
from apps.credits import billing, ledger
from apps.credits.models import Entry
from apps.jobs import services
from tests import make
from tests.browser.conftest import PHONE, WIDE, shoot

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def acme(transactional_db):
    make.platform_model()
    return make.customer(team_id="acme", credits=960)


def main_of(page):
    return page.locator("main").inner_text()


def spend(customer, job, credits):
    ledger.charge(customer.team, job=job, amount_micros=credits * 1_000_000, actor=make.TESTER, reason="job")


def changes_of(page):
    """The preview's line of what is available."""
    return page.get_by_role("row", name="Available").inner_text().split("\t")[1:]


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_grant_with_preview(open_browser, acme, size):
    page = open_browser("owner", size)
    page.goto("/admin/team/acme/grant/")
    page.get_by_label("Credits").fill("500")
    page.get_by_role("button", name="Grant").click()
    page.get_by_text("Say why. Others read it beside the effect.").first.wait_for()
    assert Entry.objects.count() == 1

    assert changes_of(page) == ["960", "1,460"]
    page.get_by_label("Credits").fill("600")
    page.get_by_text("1,560").wait_for()
    page.get_by_label("Credits").fill("500")
    page.get_by_text("1,460").wait_for()
    page.get_by_label("Reason").fill("Invoice 17")
    shoot(page, f"grant-{size['width']}")

    spend(acme, "job-1", 20)
    page.get_by_role("button", name="Grant").click()
    page.get_by_text("The balance changed while you looked: 960 → 940.").wait_for()
    assert changes_of(page) == ["940", "1,440"]
    assert billing.balance(acme.team).spendable_micros == 940_000_000
    shoot(page, f"grant-changed-{size['width']}")

    sent = page.evaluate("Object.fromEntries(new FormData(document.querySelector('form[data-once]')))")
    page.get_by_role("button", name="Grant").click(click_count=3)
    page.wait_for_url("**/admin/entry/*/")
    assert "500 credits were granted to acme by Ana: “Invoice 17”." in main_of(page)
    first = page.url
    assert Entry.objects.filter(reason="Invoice 17").count() == 1
    assert AuditEntry.objects.filter(reason="Invoice 17").count() == 1
    shoot(page, f"entry-{size['width']}")

    # What the browser sends when somebody goes back and has it send the form again.
    assert page.request.post("/admin/team/acme/grant/", form=sent).url == first
    assert Entry.objects.filter(reason="Invoice 17").count() == 1


def test_refund_of_a_job_once(open_browser, acme, settings):
    job, _ = services.open_job(acme.principal, services.NewJob("query"))
    spend(acme, str(job.pk), 12)
    url = f"/admin/job/{job.pk}/refund/"

    bo = open_browser("billing")
    bo.goto(url)
    assert "The refund goes back to: lot " in main_of(bo)
    bo.get_by_label("Reason").fill("wrong answer")
    shoot(bo, "refund")
    bo.get_by_role("button", name="Refund").click()
    bo.wait_for_url("**/admin/entry/*/")
    assert billing.balance(acme.team).spendable_micros == 960_000_000
    bo.get_by_role("link", name="charge of 12 credits").click()
    bo.get_by_text("All of it was refunded since.").wait_for()

    bo.goto(url)
    assert "Already refunded by Bo" in main_of(bo)

    settings.SUPPORT_CREDITS_MAX = 5
    other, _ = services.open_job(acme.principal, services.NewJob("query"))
    spend(acme, str(other.pk), 12)
    sam = open_browser("support")
    sam.goto(f"/admin/job/{other.pk}/refund/")
    sam.get_by_label("Reason").fill("wrong answer")
    sam.get_by_role("button", name="Refund").click()
    sam.get_by_text("Your role (support) cannot refund jobs beyond your limit").wait_for()
    assert Entry.objects.filter(kind=Entry.Kind.REFUND).count() == 1
    assert AuditEntry.objects.filter(action="refused", actor="operator:sam@example.com").count() == 1


def test_lists_and_pages_of_money(open_browser, acme):
    spend(acme, "job-1", 20)
    entry = Entry.objects.get(kind=Entry.Kind.CHARGE)
    for scheme in ("light", "dark"):
        page = open_browser("owner", scheme=scheme)
        for name, url in (
            ("ledger", "/admin/credits/entry/?team=acme"),
            ("entry", f"/admin/entry/{entry.pk}/"),
            ("grants", "/admin/credits/grant/"),
            ("vouchers", "/admin/credits/voucher/"),
            ("margin", "/admin/margin/"),
            ("statements", "/admin/statements/"),
        ):
            page.goto(url)
            assert page.locator("h1").count() == 1
            shoot(page, f"{name}-{scheme}")
