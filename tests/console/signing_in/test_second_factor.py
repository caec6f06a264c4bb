"""Second factors: enrolled at the profile, asked for at sign-in, and what protects them."""

import time
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.test import Client

from apps.console.signing_in.adapter import MFAAdapter
from apps.core import crypto, settings_store
from apps.core.actors import Actor
from apps.core.models import AuditEntry
from apps.organizations.models import User
from tests.console.signing_in.conftest import PASSWORD, actions, is_signed_in, sign_in

FACTORS = "/admin/profile/second-factor/"
SECRET = "JBSWY3DPEHPK3PXP"


def code(secret: str = SECRET) -> str:
    return totp.format_hotp_value(totp.hotp_value(secret, int(time.time()) // 30))


def confirm(browser: Client) -> None:
    """Type the password again, as changes of second factors ask."""
    assert browser.post("/admin/reauthenticate/", {"password": PASSWORD}).status_code == 302


@pytest.fixture
def app(ana: User) -> None:
    """Ana's authenticator app."""
    totp.TOTP.activate(ana, SECRET)


def test_app_is_added_with_the_password_and_a_code(
    signed_in: Client, ana: User, django_capture_on_commit_callbacks: Any
):
    assert signed_in.get(f"{FACTORS}totp/activate/").url.startswith("/admin/reauthenticate/")
    confirm(signed_in)
    page = signed_in.get(f"{FACTORS}totp/activate/")
    secret = page.context["form"].secret
    assert secret in page.content.decode()
    assert signed_in.post(f"{FACTORS}totp/activate/", {"code": "000000x"}).status_code == 200

    with django_capture_on_commit_callbacks(execute=True):
        assert signed_in.post(f"{FACTORS}totp/activate/", {"code": code(secret)}).status_code == 302

    kept = Authenticator.objects.get(type="totp").data["secret"]
    assert secret not in kept
    assert crypto.decrypt(kept) == secret
    assert "operator.second_factor_add" in actions()
    assert secret not in str(list(AuditEntry.objects.values()))


def test_recovery_codes_are_shown_once(signed_in: Client):
    confirm(signed_in)
    secret = signed_in.get(f"{FACTORS}totp/activate/").context["form"].secret
    shown = signed_in.post(f"{FACTORS}totp/activate/", {"code": code(secret)}, follow=True).content.decode()
    codes = Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes()
    assert all(each in shown for each in codes)

    again = signed_in.get(f"{FACTORS}recovery-codes/").content.decode()

    assert not any(each in again for each in codes)


def test_sign_in_asks_for_the_code_and_leads_on(app: None):
    browser = Client()
    answer = sign_in(browser, next="/admin/teams/team/")
    assert answer.url.startswith(f"{FACTORS}authenticate/")
    assert not is_signed_in(browser)
    assert "operator.sign_in" not in actions()

    answer = browser.post(f"{FACTORS}authenticate/", {"code": code()})

    assert answer.url == "/admin/teams/team/"
    assert is_signed_in(browser)
    assert AuditEntry.objects.get(action="operator.sign_in").after == {"by": ["password", "totp"]}


def test_a_code_works_once(app: None):
    used = code()
    for browser, works in ((Client(), True), (Client(), False)):
        sign_in(browser)
        browser.post(f"{FACTORS}authenticate/", {"code": used})
        assert is_signed_in(browser) is works


def test_wrong_codes_are_audited_and_throttled(app: None):
    browser = Client()
    sign_in(browser)
    for _ in range(5):
        page = browser.post(f"{FACTORS}authenticate/", {"code": "123"})
        assert page.status_code == 200
    page = browser.post(f"{FACTORS}authenticate/", {"code": code()})
    assert "Too many attempts. Try again in" in page.content.decode()
    assert not is_signed_in(browser)
    assert "operator.second_factor_failed" in actions()


def test_recovery_code_signs_in_once(signed_in: Client, app: None):
    confirm(signed_in)
    signed_in.post(f"{FACTORS}recovery-codes/generate/")
    spare = Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes()[0]
    for works in (True, False):
        browser = Client()
        sign_in(browser)
        browser.post(f"{FACTORS}authenticate/", {"code": spare})
        assert is_signed_in(browser) is works


def test_secret_that_no_key_decrypts_has_no_codes(ana: User):
    Authenticator.objects.create(user=ana, type="totp", data={"secret": "not ours"})
    browser = Client()
    sign_in(browser)
    for secret in ("", MFAAdapter().decrypt("not ours")):
        browser.post(f"{FACTORS}authenticate/", {"code": code(secret)})
        assert not is_signed_in(browser)


def test_app_is_removed_with_an_audit_row(signed_in: Client, app: None):
    confirm(signed_in)
    signed_in.post(f"{FACTORS}totp/deactivate/")
    assert not Authenticator.objects.filter(type="totp").exists()
    assert "operator.second_factor_remove" in actions()
    browser = Client()
    sign_in(browser)
    assert is_signed_in(browser)


def test_required_second_factor_is_asked_for_before_anything_else(signed_in: Client, ana: User):
    settings_store.put("second_factor_required", True, actor=Actor("operator", "ana"))

    assert signed_in.get("/admin/teams/team/").url == FACTORS
    assert signed_in.get(FACTORS).status_code == 200
    totp.TOTP.activate(ana, SECRET)
    assert is_signed_in(signed_in)


def test_without_a_second_factor_the_signed_in_page_asks_for_none(app: None):
    assert Client().get(f"{FACTORS}authenticate/").url == "/admin/login/"


def test_passkey_page_offers_what_the_browser_needs(signed_in: Client):
    confirm(signed_in)
    page = signed_in.get(f"{FACTORS}webauthn/add/")
    assert page.status_code == 200
    options = page.context["js_data"]["creation_options"]["publicKey"]
    assert options["rp"] == {"id": "testserver", "name": "SaaS LiteLLM"}
    for path in (f"{FACTORS}webauthn/", f"{FACTORS}webauthn/login/"):
        assert signed_in.get(path).status_code in (200, 302)


def test_the_admin_site_shows_nobody_these_tables(signed_in: Client, app: None):
    for path in (
        "mfa/authenticator/",
        "account/emailaddress/",
        "socialaccount/socialapp/",
        "usersessions/usersession/",
    ):
        assert signed_in.get(f"/admin/{path}").status_code == 404


def test_e_mails_of_allauths_table_let_nobody_in(ana: User, settings: Any):
    from allauth.account.models import EmailAddress

    EmailAddress.objects.create(user=ana, email="eve@example.com", verified=True, primary=True)
    browser = Client()
    sign_in(browser, "eve@example.com")
    assert not is_signed_in(browser)
