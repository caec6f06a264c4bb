"""People who sign in by the pages, as browsers do."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from apps.core.models import AuditEntry
from apps.organizations.models import User

PASSWORD = "correct horse battery"
LOGIN = "/admin/login/"


@pytest.fixture(autouse=True)
def _fresh(settings: Any) -> Iterator[None]:
    """No attempts are counted yet; and a hasher that is not slow on purpose."""
    settings.EMBEDDED = True
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def ana(db: None) -> User:
    return User.objects.create_user("ana@example.com", PASSWORD, role="owner", display_name="Ana")


@pytest.fixture
def signed_in(ana: User) -> Client:
    """Ana's browser."""
    browser = Client()
    sign_in(browser)
    return browser


def sign_in(browser: Client, email: str = "ana@example.com", password: str = PASSWORD, **more: Any) -> Any:
    return browser.post(LOGIN, {"login": email, "password": password} | more)


def is_signed_in(browser: Client) -> bool:
    return browser.get("/admin/").status_code == 200


def actions() -> list[str]:
    """What the audit trail says was done, oldest first."""
    return list(AuditEntry.objects.order_by("created_at", "id").values_list("action", flat=True))
