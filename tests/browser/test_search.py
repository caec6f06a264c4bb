"""Search from anywhere, in a browser: Ctrl K, paste, Enter."""

import pytest

from apps.jobs import services
from tests import make

pytestmark = pytest.mark.django_db(transaction=True)


def search(page, term: str) -> None:
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Search by id, key prefix, e-mail or name").fill(term)


def test_the_end_of_a_job_id_opens_the_job(open_browser):
    make.platform_model()
    acme = make.customer(team_id="acme", credits=10)
    job, _ = services.open_job(acme.principal, services.NewJob("query"))
    page = open_browser("support")
    page.goto("/admin/teams/team/")

    search(page, str(job.pk)[-8:])
    page.keyboard.press("Enter")

    page.wait_for_url(f"**/admin/job/{job.pk}/")


def test_a_whole_key_finds_the_key_with_advice(open_browser):
    acme = make.customer(team_id="acme")
    page = open_browser("viewer")
    page.goto("/admin/teams/team/")

    search(page, acme.secret)

    dialog = page.get_by_role("dialog")
    dialog.get_by_text("You pasted a whole key. It was not stored; consider rotating it.").wait_for()
    assert acme.secret not in page.locator("#console-search-results").inner_html()


def test_names_find_customers_by_kind_and_nothing_says_what_was_searched(open_browser):
    make.customer(team_id="acme")
    page = open_browser("viewer")
    page.goto("/admin/teams/team/")

    search(page, "acme")
    page.get_by_role("option", name="team acme").first.wait_for()
    page.get_by_role("combobox").fill("zzzz")
    page.get_by_text("Nothing found for zzzz").wait_for()
