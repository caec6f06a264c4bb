"""Sessions end: when idle, when ended at the profile, when the password changes. And the profile."""

import time
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.test import Client

from apps.console.signing_in import middleware
from apps.core import settings_store
from apps.core.actors import Actor
from apps.core.models import AuditEntry
from apps.organizations.models import User
from tests.console.signing_in.conftest import PASSWORD, actions, is_signed_in, sign_in

SESSIONS = "/admin/profile/sessions/"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the middleware's clock go on by so many minutes."""
    ahead = [0.0]
    real = time.time
    monkeypatch.setattr(middleware.time, "time", lambda: real() + ahead[0])

    def go(minutes: float) -> None:
        ahead[0] += minutes * 60

    return go


def other_browser() -> Client:
    browser = Client(headers={"user-agent": "Other browser"})
    sign_in(browser)
    return browser


def test_session_ends_after_an_idle_hour(signed_in: Client, later: Any):
    later(59)
    assert is_signed_in(signed_in)
    later(59)
    assert is_signed_in(signed_in)
    later(61)

    answer = signed_in.get("/admin/teams/team/")

    assert answer.url == "/admin/login/?next=/admin/teams/team/"
    assert AuditEntry.objects.get(action="operator.sign_out").after == {"because": "idle"}


def test_polling_keeps_no_session_alive(signed_in: Client, later: Any):
    for _ in range(4):
        later(20)
        signed_in.get("/admin/", headers={"x-background": "1"})
    assert not is_signed_in(signed_in)


def test_idle_time_is_a_setting(signed_in: Client, later: Any):
    settings_store.put("session_idle_min", 5, actor=Actor("operator", "ana"))
    later(6)
    assert not is_signed_in(signed_in)


def test_pages_in_quick_succession_write_no_session(signed_in: Client, django_assert_num_queries: Any):
    is_signed_in(signed_in)
    before = dict(signed_in.session)
    is_signed_in(signed_in)
    assert dict(signed_in.session) == before


def test_another_session_is_ended_at_the_profile(signed_in: Client):
    other = other_browser()
    page = signed_in.get(SESSIONS).content.decode()
    assert "Other browser" in page
    row = UserSession.objects.get(user_agent="Other browser")

    signed_in.post(SESSIONS, {"session": row.pk})

    assert not is_signed_in(other)
    assert is_signed_in(signed_in)
    audited = AuditEntry.objects.get(action="operator.session_end")
    assert audited.after["user_agent"] == "Other browser"
    assert row.session_key not in str(vars(audited))


def test_all_others_are_ended_at_once(signed_in: Client):
    others = [other_browser(), other_browser()]
    signed_in.post(SESSIONS, {"session": "others"})
    assert [is_signed_in(browser) for browser in [signed_in, *others]] == [True, False, False]


@pytest.mark.parametrize("chosen", ["", "x", "-1", "9" * 30, "²"])
def test_no_such_session_is_not_found(signed_in: Client, chosen: str):
    assert signed_in.post(SESSIONS, {"session": chosen}).status_code == 404


def test_nobody_ends_the_session_of_somebody_else(signed_in: Client):
    User.objects.create_user("bo@example.com", PASSWORD, role="admin")
    bo = Client()
    sign_in(bo, "bo@example.com")
    row = UserSession.objects.get(user__email="bo@example.com")
    assert signed_in.post(SESSIONS, {"session": row.pk}).status_code == 404
    assert is_signed_in(bo)


def test_changed_password_ends_the_other_sessions(signed_in: Client, ana: User):
    other = other_browser()

    answer = signed_in.post(
        "/admin/profile/password/", {"oldpassword": PASSWORD, "password1": "a quite different one"}
    )

    assert answer.url == "/admin/profile/"
    assert is_signed_in(signed_in)
    assert not is_signed_in(other)
    assert UserSession.objects.filter(user=ana).count() == 1
    assert "user.password" in actions()
    assert "a quite different one" not in str(list(AuditEntry.objects.values()))


def test_password_is_changed_by_who_knows_it(signed_in: Client, ana: User):
    for old, new, field in (("wrong", "a quite different one", "oldpassword"), (PASSWORD, "short", "password1")):
        page = signed_in.post("/admin/profile/password/", {"oldpassword": old, "password1": new})
        assert list(page.context["form"].errors) == [field]
    ana.refresh_from_db()
    assert ana.check_password(PASSWORD)


def test_profile_keeps_name_and_zone(signed_in: Client, ana: User):
    signed_in.post("/admin/profile/", {"display_name": "Ana B", "time_zone": "Asia/Kathmandu"})
    ana.refresh_from_db()
    assert (ana.display_name, ana.time_zone) == ("Ana B", "Asia/Kathmandu")
    assert AuditEntry.objects.get(action="user.profile").after == {
        "display_name": "Ana B",
        "time_zone": "Asia/Kathmandu",
    }
    page = signed_in.post("/admin/profile/", {"display_name": "Ana B", "time_zone": "Mars/Olympus"})
    assert list(page.context["form"].errors) == ["time_zone"]


def test_profile_is_for_who_is_signed_in(ana: User):
    for path in ("/admin/profile/", "/admin/profile/password/", SESSIONS, "/admin/profile/second-factor/"):
        assert Client().get(path).url.startswith("/admin/login/")
