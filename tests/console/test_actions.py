"""What holds for every action: GET changes nothing, what was seen is done, twice is once, rights are asked."""

import pytest

from apps.core import audit
from apps.core.models import AuditEntry
from apps.teams.models import Team
from tests.console.conftest import confirm, text_of

SUSPEND = "/admin/team/acme/suspend/"
RESUME = "/admin/team/acme/resume/"


def state() -> str:
    return Team.objects.get(team_id="acme").status


def form_of(client, url=SUSPEND, **typed):
    page = client.get(url)
    return {
        "once": str(page.context["form"]["once"].value()),
        "seen": page.context["preview"].seen,
        "reason": "chargeback",
    } | typed


def test_get_shows_and_changes_nothing(ana, acme):
    page = ana.get(SUSPEND)
    assert page.status_code == 200
    assert "New jobs and calls are refused within a second." in text_of(page)
    assert (state(), AuditEntry.objects.filter(action="team.status").count()) == ("active", 0)


def test_post_does_it_with_reason_and_audit(ana, acme):
    done = ana.post(SUSPEND, form_of(ana))
    assert (done.status_code, done.url) == (303, "/admin/team/acme/")
    assert state() == "suspended"
    row = AuditEntry.objects.get(action="team.status")
    assert (row.actor, row.reason) == ("operator:ana@example.com", "chargeback")
    assert "acme is suspended." in text_of(ana.get("/admin/team/acme/"))


@pytest.mark.parametrize("reason", ["", "abc", "x" * 501])
def test_reason_is_needed(ana, acme, reason):
    page = ana.post(SUSPEND, form_of(ana, reason=reason))
    assert page.status_code == 422
    assert page.context["form"].errors["reason"]
    assert "There is a problem" in text_of(page)
    assert state() == "active"


def test_sent_twice_acts_once_and_answers_the_same(ana, acme):
    form = form_of(ana)
    first, second = ana.post(SUSPEND, form), ana.post(SUSPEND, form)
    assert (first.status_code, first.url) == (second.status_code, second.url) == (303, "/admin/team/acme/")
    assert AuditEntry.objects.filter(action="team.status").count() == 1


def test_without_what_was_seen_nothing_is_done_yet(ana, acme):
    page = ana.post(SUSPEND, form_of(ana, seen=""))
    assert page.status_code == 200
    assert "Check and confirm." in text_of(page)
    assert state() == "active"


def test_state_that_changed_meanwhile_is_said(ana, acme):
    form = form_of(ana)
    Team.objects.update(status="paused")
    page = ana.post(SUSPEND, form)
    assert page.status_code == 409
    assert "What you saw has changed meanwhile. Nothing was done." in text_of(page)
    assert state() == "paused"


def test_what_is_done_already_is_stale(ana, acme):
    form = form_of(ana)
    Team.objects.update(status="suspended")
    for page in (ana.get(SUSPEND), ana.post(SUSPEND, form)):
        assert page.status_code == 409
        assert "acme is suspended already." in text_of(page)


def test_whoever_may_not_is_told_who_can_and_leaves_an_audit_row(vera, ana, acme):
    assert "Suspend" not in [button.label for button in vera.get("/admin/team/acme/").context["buttons"]]
    for page in (vera.get(SUSPEND), vera.post(SUSPEND, form_of(ana))):
        assert page.status_code == 403
        assert "Your role (viewer) cannot suspend teams. Owners, admins and support can." in text_of(page)
    assert state() == "active"
    row = AuditEntry.objects.filter(action=audit.REFUSED).order_by("created_at").last()
    assert (row.actor, row.after) == ("operator:vera@example.com", {"method": "POST", "right": "state.write"})


def test_resume_shows_the_reason_it_was_suspended_for(ana, acme):
    confirm(ana, SUSPEND, reason="chargeback")
    assert "“chargeback”" in text_of(ana.get(RESUME))
    confirm(ana, RESUME, reason="paid again")
    assert state() == "active"


def test_without_csrf_token_nothing_is_done(browser_of, ana, acme):
    strict = browser_of("owner", enforce_csrf_checks=True)
    assert strict.post(SUSPEND, form_of(ana)).status_code == 403
    assert state() == "active"


def test_unknown_team_is_not_found(ana, db):
    assert ana.get("/admin/team/nobody/suspend/").status_code == 404


def test_pages_are_kept_by_nobody_and_run_our_scripts_alone(ana, acme):
    for url in ("/admin/", SUSPEND, "/admin/team/acme/", "/admin/teams/team/", "/admin/jobs/job/"):
        page = ana.get(url)
        assert page["Cache-Control"] == "no-store"
        assert "script-src 'self' 'unsafe-eval'" in page["Content-Security-Policy"]
