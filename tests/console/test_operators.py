"""Operators, their tokens, and settings: who may change whom, secrets once, before and after on record."""

import pytest

from apps.core import settings_store
from apps.core.models import AuditEntry, Setting
from apps.organizations import tokens
from apps.organizations.models import OperatorToken, User
from tests.console.conftest import confirm, text_of

pytestmark = pytest.mark.django_db
LIST = "/admin/organizations/user/"


@pytest.fixture
def sam(browser_of):
    browser_of("support")
    return User.objects.get(email="sam@example.com")


def at(user, action=""):
    return f"/admin/operator/{user.public_id}/{action}"


def test_list_names_operators_and_no_customers(ana, sam):
    User.objects.create_user("member@example.com")
    page = text_of(ana.get(LIST))
    assert "sam@example.com" in page
    assert "member@example.com" not in page


def test_an_owner_invites_and_changes_the_role(ana):
    assert confirm(ana, "/admin/operator/invite/", email="New@example.com", role="billing").status_code == 303
    new = User.objects.get(email="new@example.com")
    confirm(ana, at(new, "role/"), role="support", reason="moved team")
    new.refresh_from_db()
    assert new.role == "support"
    row = AuditEntry.objects.get(action="operator.change")
    assert (row.before, row.reason) == ({"role": "billing"}, "moved team")


def test_an_admin_manages_neither_owners_nor_admins(browser_of, sam):
    ali = browser_of("admin")
    browser_of("owner")
    ana = User.objects.get(email="ana@example.com")
    for action in ("role/", "deactivate/", "issue-token/"):
        assert ali.get(at(ana, action)).status_code == 403
    assert confirm(ali, "/admin/operator/invite/", email="x@example.com", role="owner").status_code == 403
    assert confirm(ali, at(sam, "role/"), role="admin", reason="promotion").status_code == 403
    assert confirm(ali, at(sam, "role/"), role="viewer", reason="on leave").status_code == 303


@pytest.mark.parametrize("role", ["billing", "support", "viewer"])
def test_who_may_not(browser_of, sam, role):
    browser = browser_of(role)
    for path in ("/admin/operator/invite/", at(sam, "role/"), at(sam, "issue-token/"), at(sam, "deactivate/")):
        assert browser.get(path).status_code == 403
        assert browser.post(path).status_code == 403
    assert "Deactivate" not in text_of(browser.get(at(sam)))


def test_the_last_owner_stays_and_nobody_changes_their_own_role(ana):
    me = User.objects.get(email="ana@example.com")
    refused = confirm(ana, at(me, "role/"), role="viewer", reason="I am tired")
    assert refused.status_code == 422
    me.refresh_from_db()
    assert me.role == "owner"


def test_deactivate_and_activate(ana, sam):
    assert confirm(ana, at(sam, "deactivate/"), reason="left the company").status_code == 303
    sam.refresh_from_db()
    assert not sam.is_active
    assert ana.get(at(sam, "deactivate/")).status_code == 409
    confirm(ana, at(sam, "activate/"), reason="came back")
    sam.refresh_from_db()
    assert sam.is_active


def test_a_token_is_shown_once_and_revoked(ana, sam):
    url = at(sam, "issue-token/")
    shown = confirm(ana, url, name="nightly", scopes=["view"])
    token = OperatorToken.objects.get()
    secret = shown.context["secret"]
    assert tokens.authenticate(secret).user == sam
    assert secret not in text_of(ana.get(at(sam)))
    confirm_plain = ana.get(at(sam, f"token/{token.pk}/revoke/")).context["form"]
    ana.post(at(sam, f"token/{token.pk}/revoke/"), {"once": str(confirm_plain["once"].value())})
    token.refresh_from_db()
    assert token.revoked_at is not None


def test_settings_are_shown_and_changed_before_and_after(ana, settings):
    settings.MASTER_KEY = "mk-very-secret"
    page = text_of(ana.get("/admin/settings/"))
    assert "mk-very-secret" not in page
    assert "reporting" in page.lower()
    done = confirm(ana, "/admin/settings/reporting_time_zone/change/", value="Europe/Berlin")
    assert done.status_code == 303
    assert settings_store.get("reporting_time_zone") == "Europe/Berlin"
    row = AuditEntry.objects.get(action="setting.change")
    assert (row.before, row.after) == ({"value": "UTC"}, {"value": "Europe/Berlin"})
    refused = confirm(ana, "/admin/settings/reporting_time_zone/change/", value="Mars")
    assert refused.status_code == 422


def test_admins_change_all_but_security(browser_of):
    ali = browser_of("admin")
    assert ali.get("/admin/settings/second_factor_required/change/").status_code == 403
    assert confirm(ali, "/admin/settings/low_percent/change/", value="25").status_code == 303
    assert browser_of("viewer").get("/admin/settings/low_percent/change/").status_code == 403
    assert Setting.objects.get(name="low_percent").value == 25


def test_what_the_environment_sets_is_changed_there(ana, settings):
    settings.SESSION_IDLE_MIN = 30
    assert "SESSION_IDLE_MIN" in text_of(ana.get("/admin/settings/"))
    assert ana.get("/admin/settings/session_idle_min/change/").status_code == 409
    assert ana.get("/admin/settings/nothing/change/").status_code == 404
