"""A new price of a job type, in a browser: draft, difference, replay, activation, and a draft of a second tab."""

import pytest

from apps.credits import card_terms, cards
from apps.jobs import execution, services
from apps.jobs.models import Job
from tests import make
from tests.browser.conftest import shoot

pytestmark = pytest.mark.django_db(transaction=True)


def begin(customer: make.Customer) -> tuple[str, str]:
    """A job and its call, which is not answered yet. Their ids."""
    job, _ = services.open_job(customer.principal, services.NewJob("resume"))
    body = {"messages": [{"role": "user", "content": "x"}]}
    request = services.CallRequest(body=body, fingerprint=str(job.pk))
    call = services.submit_call(customer.principal, request, job_id=str(job.pk), wait_s=28, reply_to="")
    return str(job.pk), str(call.call_id)


def finish(customer: make.Customer, job_id: str, call_id: str) -> str:
    """The call is answered and the job completed. Its id."""
    execution.run_call(call_id)
    services.complete_job(customer.team, job_id=job_id, verdict="completed", closed_by="test")
    return job_id


def charged(job_id: str) -> int:
    return Job.objects.get(pk=job_id).charged_micros


def test_price_of_a_job_type_goes_from_12_to_15(open_browser):
    make.platform_model()
    acme = make.customer(team_id="acme", credits=100)
    card = cards.create(
        job_type="resume",
        actor=make.TESTER,
        terms=card_terms.columns(card_terms.TermsInput(mode="flat", price_credits=12)),
    )
    cards.activate(card, 1, actor=make.TESTER)
    assert charged(finish(acme, *begin(acme))) == 12_000_000
    running = begin(acme)

    page = open_browser("billing")
    page.goto("/admin/credits/ratecard/")
    page.get_by_role("link", name="resume").click()
    second_tab = page.context.new_page()
    second_tab.goto(f"/admin/card/{card.pk}/edit/")
    second_tab.get_by_label("Minimum, credits").fill("2")

    page.bring_to_front()
    page.get_by_role("link", name="New draft").click()
    page.wait_for_url("**/edit/")
    page.get_by_label("Price, credits").fill("15")
    page.get_by_label("Price, credits").press("Tab")
    page.get_by_text("completed 15 credits").first.wait_for(timeout=4000)
    shoot(page, "card-edit")
    page.get_by_role("button", name="Save draft").click()
    page.wait_for_url("**/draft/")
    changed = page.get_by_role("row", name="Price, credits 12 15 changed")
    assert changed.count() == 1
    shoot(page, "card-draft")

    page.get_by_role("link", name="Replay", exact=True).first.click()
    page.get_by_role("link", name="30 days").click()
    page.get_by_text("1 jobs of 30 days: 12 → 15 credits.").wait_for()
    shoot(page, "card-replay")
    page.get_by_role("link", name="Activate this draft").click()
    page.get_by_label("Reason").fill("agreed for May")
    page.get_by_role("button", name="Activate").click()
    page.get_by_role("heading", name="There is a problem").wait_for()
    assert cards.in_force(card).number == 1
    page.get_by_label("Type resume to confirm").fill("resume")
    shoot(page, "card-activate")
    page.get_by_role("button", name="Activate").click()
    page.wait_for_url(f"**/admin/card/{card.pk}/")
    page.get_by_text("15 credits a job").first.wait_for()

    assert charged(finish(acme, *running)) == 12_000_000
    assert charged(finish(acme, *begin(acme))) == 15_000_000

    second_tab.get_by_role("button", name="Save draft").click()
    second_tab.get_by_text("Version 2 came into force after you started from 1.").wait_for()
    assert second_tab.get_by_label("Price, credits").input_value() == "15"
    assert second_tab.get_by_label("Minimum, credits").input_value() == "2"
    shoot(second_tab, "card-overtaken")


def test_two_editors_of_a_model_group(open_browser):
    group = make.model_group("agent")
    ana, ali = open_browser("owner"), open_browser("admin")
    url = f"/admin/catalog/modelgroup/{group.pk}/change/"
    for page in (ana, ali):
        page.goto(url)
    ana.get_by_label("Display name").fill("Ana's agent")
    ana.get_by_role("button", name="Save", exact=True).click()
    ana.wait_for_url("**/catalog/modelgroup/")

    ali.get_by_label("Display name").fill("Ali's agent")
    ali.get_by_role("button", name="Save", exact=True).click()
    ali.get_by_text("now it is Ana's agent").wait_for()
    shoot(ali, "two-editors")
    group.refresh_from_db()
    assert group.display_name == "Ana's agent"
    ali.get_by_role("button", name="Save", exact=True).click()
    ali.wait_for_url("**/catalog/modelgroup/")
    group.refresh_from_db()
    assert group.display_name == "Ali's agent"
