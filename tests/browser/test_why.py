"""Why did this cost that, and why was I refused: answered, and put right, in a browser (walks 5 and 6)."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest

from apps.core.errors import DomainError
from apps.credits import ledger
from apps.credits.models import Entry
from apps.jobs import execution, services
from apps.jobs.models import Attempt, Call, Job
from apps.limits import services as limits
from apps.limits.models import Decision
from apps.teams import services as teams
from tests import make
from tests.browser.conftest import PHONE, WIDE, shoot

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_worker")]


def submit(customer, job, number):
    body = {"messages": [{"role": "user", "content": "hello"}]}
    request = services.CallRequest(body=body, fingerprint=f"{job.pk}{number}")
    return services.submit_call(customer.principal, request, job_id=str(job.pk), wait_s=28, reply_to="").call_id


def job_paid_by_two_lots():
    """A job of 1 credit, of which a promotional lot pays a half; its second call tried twice."""
    make.platform_model()
    customer = make.customer(team_id="acme", credits=100)
    ledger.grant(customer.team, amount_micros=500_000, actor=make.TESTER, key="promo", kind="promotional")
    job, _ = services.open_job(customer.principal, services.NewJob("resume"))
    for number in range(2):
        execution.run_call(str(submit(customer, job, number)))
    second = Call.objects.filter(job=job).order_by("created_at", "id")[1]
    Attempt.objects.create(
        call=second,
        claim=1,
        state="failed",
        error_code="provider_timeout",
        route="demo",
        provider_model="slow",
        worker="w-1",
        started_at=second.created_at - timedelta(milliseconds=1),
        ended_at=second.created_at,
    )
    services.complete_job(customer.team, job_id=str(job.pk), verdict="completed", closed_by="key:x")
    return Job.objects.get(pk=job.pk)


def amounts(table):
    return [Decimal(text.replace(",", "")) for text in table.locator("tbody td.c-number").all_inner_texts()]


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_why_it_cost_that(open_browser, size):
    job = job_paid_by_two_lots()
    page = open_browser("support", size)
    page.goto(f"/admin/go/{job.pk}/")
    page.wait_for_url(f"**/admin/job/{job.pk}/")
    main = page.locator("main")
    assert "Completed by its client. 2 calls. Charged 1 credit by" in main.inner_text()
    lines = page.get_by_role("table", name="What the job came to")
    assert sum(amounts(lines)) == 1
    assert sum(amounts(page.get_by_role("table", name="Paid by"))) == 1
    assert len(amounts(page.get_by_role("table", name="Paid by"))) == 2

    # Call 2: two attempts, of which the failed one costs the customer nothing.
    second = Call.objects.filter(job=job).order_by("created_at", "id")[1]
    page.locator(f"#call-{second.pk} summary").click()
    attempts = page.get_by_role("table", name="Attempts of call 2")
    assert attempts.locator("tbody tr").count() == 2
    assert "provider_timeout" in attempts.inner_text()
    assert "$0.00" in attempts.locator("tbody tr").first.inner_text()

    page.get_by_text("Show as table").click()
    shown = page.get_by_role("table", name="Waiting and attempts of each call").inner_text()
    assert "attempt 1 failed (provider_timeout)" in shown
    assert "attempt 2 succeeded" in shown
    shoot(page, f"job-{size['width']}")

    with page.expect_download() as download:
        page.get_by_role("link", name="Download receipt (JSON)").click()
    receipt = json.loads(download.value.path().read_text())
    assert receipt["credits_net"] == "1"

    page.get_by_role("table", name="What the job came to").get_by_role("link", name="1", exact=True).click()
    page.wait_for_load_state()
    charge = Entry.objects.get(job=str(job.pk), kind="charge")
    assert str(charge.pk) in page.content()


def refused(customer):
    job, _ = services.open_job(customer.principal, services.NewJob("query"))
    with pytest.raises(DomainError):
        submit(customer, job, 0)
    return job, Decision.objects.order_by("-created_at", "-id").first()


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_why_it_was_refused_and_that_it_would_pass(open_browser, size):
    make.platform_model()
    customer = make.customer(team_id="acme", credits=0)
    ledger.grant(customer.team, amount_micros=400_000, actor=make.TESTER, key="little")
    job, decision = refused(customer)
    page = open_browser("owner", size)

    page.goto(f"/admin/go/{decision.pk}/")
    main = page.locator("main")
    assert "team acme had 0.4 credits available" in main.inner_text()
    then = page.get_by_role("table", name="How each limit stood when it was refused")
    assert "refused this" in then.inner_text()
    assert "still refused" in main.inner_text()
    assert page.get_by_role("link", name="Grant 1 credit to acme").get_attribute("href").find("credits=1") > 0
    shoot(page, f"decision-{size['width']}")

    # The form is another screen's; its effect is this page's.
    ledger.grant(customer.team, amount_micros=1_000_000, actor=make.TESTER, key="more")
    page.reload()
    assert "would pass now" in main.inner_text()
    page.get_by_role("button", name="Copy answer").click()
    assert "acme" not in page.evaluate("navigator.clipboard.readText()")
    assert submit(customer, job, 1)


def test_a_suspended_team_is_resumed_from_the_refusal(open_browser):
    make.platform_model()
    customer = make.customer(team_id="acme", credits=5)
    job, _ = services.open_job(customer.principal, services.NewJob("query"))
    teams.set_status(customer.team, status="suspended", actor=make.TESTER, reason="chargeback")
    with pytest.raises(DomainError):
        submit(customer, job, 0)
    decision = Decision.objects.create(
        team=customer.team, organization=customer.organization, code="team_not_active", message="Team is suspended."
    )
    page = open_browser("support")
    page.goto(f"/admin/decision/{decision.pk}/")
    page.get_by_role("link", name="Resume acme").click()
    page.get_by_label("Reason").fill("paid again")
    page.get_by_role("button", name="Resume").click()
    page.wait_for_url(f"**/admin/decision/{decision.pk}/")
    assert "would pass now" in page.locator("main").inner_text()


def test_refusals_narrow_to_a_bar_and_group(open_browser):
    make.platform_model()
    customer = make.customer(team_id="acme", credits=0)
    limits.put(scope="team", id="acme", metric="requests_per_minute", amount=100, actor=make.TESTER)
    refused(customer)
    refused(customer)
    page = open_browser("viewer")
    page.goto("/admin/limits/decision/")
    page.get_by_text("Show as table").click()
    page.locator("figure.c-chart tbody tr", has_text="2").last.get_by_role("link").click()
    page.wait_for_load_state()
    assert "2 refusals" in page.locator(".c-foot").inner_text()
    page.get_by_role("link", name="Grouped by team and reason").click()
    page.get_by_role("table", name="Refusals by team and reason").get_by_role("link").click()
    page.wait_for_load_state()
    assert "Not enough credits" in page.locator("main").inner_text()


def test_a_job_is_cancelled(open_browser):
    make.platform_model()
    customer = make.customer(team_id="acme", credits=5)
    job, _ = services.open_job(customer.principal, services.NewJob("query"))
    execution.run_call(str(submit(customer, job, 0)))
    page = open_browser("support")
    page.goto(f"/admin/job/{job.pk}/")
    page.get_by_role("link", name="Cancel job").click()
    page.get_by_label("Reason").fill("asked to")
    page.get_by_role("button", name="Cancel job").click()
    page.wait_for_url(f"**/admin/job/{job.pk}/")
    assert "Cancelled by an operator: asked to." in page.locator("main").inner_text()
    assert Job.objects.get(pk=job.pk).status == "cancelled"
