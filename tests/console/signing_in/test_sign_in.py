"""Signing in by password: who gets in, what everybody else reads, and when it is enough."""

import re
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from apps.core import settings_store
from apps.core.actors import Actor
from apps.core.models import AuditEntry
from apps.organizations.models import User
from tests import make
from tests.console.signing_in.conftest import LOGIN, PASSWORD, actions, is_signed_in, sign_in

WRONG = "E-mail or password is wrong."


def text(page: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.content.decode()).split())


def test_sign_in_leads_to_the_page_first_asked_for(ana: User):
    browser = Client()
    asked = browser.get("/admin/teams/team/?status__exact=active")
    assert asked.url.startswith(LOGIN)
    page = browser.get(asked.url)
    assert page.status_code == 200
    assert 'name="next" value="/admin/teams/team/?status__exact=active"' in page.content.decode()

    answer = sign_in(browser, next="/admin/teams/team/?status__exact=active")

    assert answer.url == "/admin/teams/team/?status__exact=active"
    assert is_signed_in(browser)
    assert actions() == ["operator.sign_in"]
    row = AuditEntry.objects.get()
    assert (row.actor, row.object_id, row.after) == (
        "operator:ana@example.com",
        "ana@example.com",
        {"by": ["password"]},
    )


def test_e_mail_is_taken_in_any_case(ana: User):
    browser = Client()
    sign_in(browser, " ANA@Example.com ")
    assert is_signed_in(browser)


def test_nobody_is_led_to_another_site(ana: User):
    assert sign_in(Client(), next="https://evil.example/").url == "/admin/"


def test_every_failure_reads_the_same(ana: User):
    User.objects.create_user("gone@example.com", PASSWORD, role="admin", is_active=False)
    User.objects.create_user("nopassword@example.com", None, role="admin")
    for email, password in (
        ("ana@example.com", "wrong"),
        ("nobody@example.com", PASSWORD),
        ("gone@example.com", PASSWORD),
        ("nopassword@example.com", "x"),
    ):
        page = sign_in(Client(), email, password)
        assert page.status_code == 200
        assert page.context["form"].non_field_errors() == [WRONG]


def test_failures_are_audited_without_what_was_typed(ana: User):
    sign_in(Client(), "ana@example.com", "my-secret-password")
    sign_in(Client(), "my-secret@password.example", "x")

    rows = AuditEntry.objects.filter(action="operator.sign_in_failed").order_by("created_at", "id")
    assert [row.object_id for row in rows] == ["ana@example.com", "unknown"]
    assert "my-secret" not in str([vars(row) for row in rows])


def test_sixth_attempt_is_throttled_even_with_the_right_password(ana: User):
    for _ in range(5):
        assert sign_in(Client(), password="wrong").status_code == 200

    page = sign_in(Client())

    assert page.status_code == 429
    assert page.context["form"].non_field_errors() == ["Too many attempts. Try again in 5 min."]
    assert not User.objects.get(pk=ana.pk).last_login
    # The row of the refusal comes once, whoever goes on trying.
    sign_in(Client())
    assert actions().count("operator.sign_in_throttled") == 1
    assert actions().count("operator.sign_in_failed") == 5


def test_throttling_is_by_e_mail_not_by_the_host_asked(ana: User, settings: Any):
    settings.ALLOWED_HOSTS = ["one.example", "two.example"]
    for number in range(5):
        host = settings.ALLOWED_HOSTS[number % 2]
        Client(headers={"host": host}).post(LOGIN, {"login": "ana@example.com", "password": "wrong"})
    assert (
        Client(headers={"host": "one.example"})
        .post(LOGIN, {"login": "ana@example.com", "password": PASSWORD})
        .status_code
        == 429
    )


def test_right_passwords_do_not_count_as_attempts(ana: User):
    for _ in range(8):
        browser = Client()
        sign_in(browser)
        assert is_signed_in(browser)


def test_an_address_that_asks_without_end_gets_429(ana: User):
    last = [sign_in(Client(), f"a{number}@example.com", "x") for number in range(31)][-1]
    assert last.status_code == 429
    assert "Too many attempts" in text(last)


def test_who_has_no_role_reads_so_and_can_leave(ana: User):
    User.objects.create_user("mia@customer.example", PASSWORD)
    browser = Client()
    answer = sign_in(browser, "mia@customer.example")
    assert browser.get(answer.url).url == "/admin/login/?next=/admin/"

    page = browser.get("/admin/login/?next=/admin/")

    assert page.status_code == 403
    assert "You are signed in as mia@customer.example but are not an operator." in text(page)
    assert browser.post("/admin/logout/").url == LOGIN
    assert browser.get(LOGIN).status_code == 200


def test_sign_out_is_by_post_alone_and_audited(signed_in: Client):
    signed_in.get("/admin/logout/")
    assert is_signed_in(signed_in)

    signed_in.post("/admin/logout/")

    assert not is_signed_in(signed_in)
    assert actions() == ["operator.sign_in", "operator.sign_out"]


def test_nobody_signs_up(ana: User):
    for path in ("/admin/signup/", "/admin/login/signup/", "/admin/accounts/signup/"):
        Client().post(path, {"email": "eve@example.com", "password1": PASSWORD})
    assert User.objects.count() == 1


def test_pages_are_not_kept_and_hold_no_code(signed_in: Client):
    for path in (
        LOGIN,
        "/admin/profile/",
        "/admin/profile/password/",
        "/admin/profile/sessions/",
        "/admin/profile/second-factor/",
    ):
        page = (Client() if path == LOGIN else signed_in).get(path)
        assert page.status_code == 200, path
        assert "no-store" in page["Cache-Control"]
        source = page.content.decode()
        # A type of JSON makes a script data, which a content security policy does not mind.
        assert [
            tag for tag in re.findall(r"<script[^>]*>", source) if "src=" not in tag and "application/json" not in tag
        ] == []
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", source)


def test_sign_in_needs_a_csrf_token(ana: User):
    assert (
        Client(enforce_csrf_checks=True).post(LOGIN, {"login": "ana@example.com", "password": PASSWORD}).status_code
        == 403
    )


def test_the_forgotten_passwords_of_django_lead_to_ours(signed_in: Client):
    assert signed_in.get("/admin/password_change/").url == "/admin/profile/password/"


def test_requests_of_the_api_meet_neither_session_nor_allauth(
    acme: make.Customer, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
):
    from apps.console.signing_in import middleware

    def never(*_: Any) -> Any:
        raise AssertionError("allauth was asked")

    monkeypatch.setattr(middleware.SigningInMiddleware, "_page", never)
    browser = Client()
    response = browser.get("/api/teams/acme", headers={"authorization": f"Bearer {acme.secret}"})
    assert response.wsgi_request.path.startswith("/api/")
    assert not hasattr(response.wsgi_request, "allauth")
    assert not response.wsgi_request.session.accessed
    assert not response.cookies
    with django_assert_num_queries(0):
        assert not hasattr(browser.get("/health").wsgi_request, "allauth")


def test_counts_are_kept_in_djangos_cache(ana: User):
    """So that web processes that share it share them."""
    for _ in range(5):
        sign_in(Client(), password="wrong")
    cache.clear()
    assert sign_in(Client()).status_code == 302


def test_platform_is_named_on_the_page(ana: User):
    settings_store.put("platform_name", "Acme <AI>", actor=Actor("operator", "ana"))
    assert "Acme &lt;AI&gt;" in Client().get(LOGIN).content.decode()
