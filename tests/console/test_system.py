"""System: what is said of the ledger, verifying at once, pausing admission, and the banner that tells everybody."""

import threading

import pytest

from apps.console import banners
from apps.console.actions import platform
from apps.core import admission_switch, audit, verification
from apps.core.models import AuditEntry, Event, Setting
from tests.console.conftest import confirm, text_of

pytestmark = pytest.mark.django_db
PAUSE, RESUME, VERIFY = "/admin/system/pause-admission/", "/admin/system/resume-admission/", "/admin/system/verify/"
WHY = {"reason": "database upgrade", "typed": "pause"}


def differs():
    found = {"check": "account.posted_micros", "subject": "account:7", "expected": 5, "found": 9}
    audit.emit(verification.VERIFIED, subject="ledger", differences=1, accounts=3, entries=9, found=[found])
    banners.forget_cached()


def test_the_page_says_that_nothing_waits(ana):
    page = text_of(ana.get("/admin/system/"))
    assert "The sweeper is late" in page
    assert "The ledger was never checked." in page


def test_differences_are_named_with_both_figures_and_in_the_banner(ana):
    differs()
    page = text_of(ana.get("/admin/system/"))
    assert "account:7" in page
    assert '<td class="c-number">5</td><td class="c-number">9</td>' in page
    assert "The ledger has 1 difference." in text_of(ana.get("/admin/teams/team/"))


def test_the_banner_takes_one_query_now_and_then(ana, django_assert_max_num_queries):
    banners.forget_cached()
    with django_assert_max_num_queries(1):
        banners.banner()
    with django_assert_max_num_queries(0):
        banners.banner()


def test_pausing_refuses_new_jobs_and_calls_and_lets_open_jobs_end(ana, acme, client):
    mine = {"Authorization": f"Bearer {acme.secret}"}

    def post(path, **body):
        return client.post(path, body, content_type="application/json", headers=mine)

    job = {"team_id": acme.team.team_id, "job_type": "query"}
    opened = post("/api/jobs/create", **job).json()["job_id"]
    assert confirm(ana, PAUSE, **WHY).status_code == 303

    chat = {"model": "gpt", "messages": [{"role": "user", "content": "Hello"}]}
    for path, body in (
        ("/api/jobs/create", job),
        ("/api/jobs/create-and-call", job | {"messages": chat["messages"]}),
        (f"/api/jobs/{opened}/llm-call", {"messages": chat["messages"]}),
        ("/v1/chat/completions", chat),
    ):
        refused = post(path, **body)
        assert refused.status_code == 503, path
        assert refused["Retry-After"] == "30"
        assert "paused" in refused.content.decode()
    assert post(f"/api/jobs/{opened}/complete", status="completed").status_code == 200
    assert "admission is paused by ana@example.com: “database upgrade”" in text_of(ana.get("/admin/"))

    assert confirm(ana, RESUME, reason="upgrade is done").status_code == 303
    assert post("/api/jobs/create", **job).status_code in (200, 201)
    assert list(AuditEntry.objects.filter(action__startswith="admission.").values_list("action", flat=True)) == [
        "admission.resume",
        "admission.pause",
    ]


def test_a_process_reads_the_switch_once_for_many_calls(django_assert_num_queries):
    admission_switch.forget_cached()
    with django_assert_num_queries(1):
        for _ in range(100):
            admission_switch.require_open()


@pytest.mark.parametrize("typed", ["", "Pause", "resume"])
def test_pausing_needs_the_word(ana, typed):
    assert confirm(ana, PAUSE, reason="database upgrade", typed=typed).status_code == 422
    assert not admission_switch.stored().is_paused


@pytest.mark.parametrize("role", ["billing", "support", "viewer"])
def test_who_may_not_pause(browser_of, role):
    browser = browser_of(role)
    assert browser.get(PAUSE).status_code == 403
    assert browser.post(PAUSE, WHY).status_code == 403
    assert AuditEntry.objects.filter(action="refused").count() == 2
    assert not Setting.objects.filter(name="admission").exists()
    assert "Pause admission" not in text_of(browser.get("/admin/system/"))


def test_looking_changes_nothing_and_twice_is_once(ana):
    ana.get(PAUSE)
    assert not admission_switch.stored().is_paused
    confirm(ana, PAUSE, **WHY)
    assert ana.get(PAUSE).status_code == 409
    assert AuditEntry.objects.filter(action="admission.pause").count() == 1


def test_a_form_from_before_another_change_does_nothing(ana):
    form = ana.get(PAUSE).context["form"]
    once = str(form["once"].value())
    shown = ana.post(PAUSE, {**WHY, "once": once})
    seen = shown.context["preview"].seen
    confirm(ana, PAUSE, **WHY)
    confirm(ana, RESUME, reason="not needed")
    late = ana.post(PAUSE, {**WHY, "once": once, "seen": seen})
    assert late.status_code == 409
    assert not admission_switch.stored().is_paused


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("role", "status"), [("admin", 303), ("billing", 303), ("support", 403), ("viewer", 403)])
def test_verify_now(browser_of, role, status):
    assert confirm_plain(browser_of(role), VERIFY) == status
    for thread in threading.enumerate():
        if thread.name == platform.THREAD:
            thread.join()
    assert Event.objects.filter(kind=verification.VERIFIED).count() == (status == 303)


def confirm_plain(browser, url):
    page = browser.get(url)
    if page.status_code != 200:
        return page.status_code
    return browser.post(url, {"once": str(page.context["form"]["once"].value())}).status_code


def test_dependencies_versions_and_configuration_are_a_panel_of_their_own(ana, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    page = text_of(ana.get("/admin/system/foundations/"))
    assert "SQLite" in page or "PostgreSQL" in page
    assert "ConnectionError" in page
    assert "127.0.0.1:1" not in page
    assert "Pending migrations" in page


def test_platform_tells_its_own_version(ana, settings):
    assert f"<dd>{settings.VERSION}</dd>" in text_of(ana.get("/admin/system/foundations/"))
