"""Signing in through an OpenID Connect provider: a small one of our own answers over HTTP."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.mfa.totp.internal import auth as totp
from allauth.socialaccount.models import SocialAccount
from django.test import Client

from apps.core.models import AuditEntry
from apps.organizations.models import User
from tests.console.signing_in.conftest import PASSWORD, is_signed_in, sign_in

CALLBACK = "/admin/oidc/corp/login/callback/"


class Provider(ThreadingHTTPServer):
    """Vouches for `person`, whoever asks."""

    person: dict[str, Any]

    def answers(self) -> dict[str, Any]:
        root = f"http://127.0.0.1:{self.server_port}"
        return {
            "/.well-known/openid-configuration": {
                "issuer": root,
                "authorization_endpoint": f"{root}/authorize",
                "token_endpoint": f"{root}/token",
                "userinfo_endpoint": f"{root}/userinfo",
                "jwks_uri": f"{root}/keys",
            },
            "/token": {"access_token": "for-the-test", "token_type": "Bearer"},
            "/userinfo": self.person,
        }


class Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        body = json.dumps(self.server.answers()[urlsplit(self.path).path]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def provider(settings: Any) -> Iterator[Provider]:
    server = Provider(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    app = {
        "provider_id": "corp",
        "name": "Corp",
        "client_id": "us",
        "secret": "shared",
        "settings": {"server_url": f"http://127.0.0.1:{server.server_port}"},
    }
    settings.OIDC_APPS = [app]
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [app]}}
    server.person = {"sub": "1", "email": "Ana@Example.com", "email_verified": True}
    yield server
    server.shutdown()
    server.server_close()


def come_back(browser: Client, **start: str) -> Any:
    """There and back again, as a browser goes."""
    away = browser.get("/admin/oidc/corp/login/", {"process": "login"} | start)
    query = parse_qs(urlsplit(away.url).query)
    assert query["code_challenge_method"] == ["S256"]
    return browser.get(CALLBACK, {"code": "once", "state": query["state"][0]})


def test_sign_in_page_names_the_provider(ana: User, provider: Provider):
    page = Client().get("/admin/login/?next=/admin/teams/team/").content.decode()
    assert "Sign in with Corp" in page
    assert "/admin/oidc/corp/login/?process=login&amp;next=%2Fadmin%2Fteams%2Fteam%2F" in page


def test_operator_with_the_verified_e_mail_signs_in(ana: User, provider: Provider):
    browser = Client()
    assert come_back(browser, next="/admin/teams/team/").url == "/admin/teams/team/"
    assert is_signed_in(browser)
    assert AuditEntry.objects.get(action="operator.sign_in").after == {"by": ["socialaccount"]}
    # allauth would wipe the password of somebody whose e-mail it did not verify itself.
    again = Client()
    sign_in(again)
    assert is_signed_in(again)
    assert not SocialAccount.objects.exists()


@pytest.mark.parametrize(
    "person",
    [
        {"sub": "1", "email": "ana@example.com", "email_verified": False},
        {"sub": "1", "email": "ana@example.com", "email_verified": "true"},
        {"sub": "1", "email": "ana@example.com"},
        {"sub": "1"},
        {"sub": "1", "email": "stranger@example.com", "email_verified": True},
        {"sub": "1", "email": "gone@example.com", "email_verified": True},
        {"sub": "1", "email": "mia@customer.example", "email_verified": True},
    ],
)
def test_nobody_else_does_and_nobody_is_made(ana: User, provider: Provider, person: dict[str, Any]):
    User.objects.create_user("gone@example.com", PASSWORD, role="admin", is_active=False)
    User.objects.create_user("mia@customer.example", PASSWORD)
    provider.person = person
    browser = Client()

    page = come_back(browser)

    assert "No active operator has that e-mail" in page.content.decode()
    assert not is_signed_in(browser)
    assert User.objects.count() == 3
    assert AuditEntry.objects.get().action == "operator.sign_in_failed"


def test_second_factor_is_asked_for_after_the_provider(ana: User, provider: Provider):
    totp.TOTP.activate(ana, "JBSWY3DPEHPK3PXP")
    browser = Client()
    assert come_back(browser).url.startswith("/admin/profile/second-factor/authenticate/")
    assert not is_signed_in(browser)


def test_answer_that_nobody_asked_for_is_refused(ana: User, provider: Provider):
    browser = Client()
    page = browser.get(CALLBACK, {"code": "once", "state": "forged"})
    assert "The provider did not answer" in page.content.decode()
    assert not is_signed_in(browser)


def test_provider_that_is_away_is_told(ana: User, provider: Provider):
    provider.shutdown()
    provider.server_close()
    page = Client().get("/admin/oidc/corp/login/", {"process": "login"})
    assert page.status_code == 502
    assert "The provider did not answer" in page.content.decode()


def test_unknown_provider_is_not_found(ana: User, provider: Provider):
    assert Client().get("/admin/oidc/other/login/").status_code == 404
