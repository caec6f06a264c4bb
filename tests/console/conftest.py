"""The cast of the console's tests: an operator of each role, in a browser of their own."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from apps.core import settings_store
from apps.core.short_cache import ShortCache
from apps.organizations.models import User

PASSWORD = "correct horse battery"
CAST = {"owner": "Ana", "admin": "Ali", "billing": "Bo", "support": "Sam", "viewer": "Vera"}


@pytest.fixture(autouse=True)
def _settings(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Settings that operators change are asked for now and then: not in the middle of counting queries.
    monkeypatch.setattr(settings_store, "_rows", ShortCache(seconds=3600, size=1))
    settings.EMBEDDED = True  # the demo provider answers
    # The default hasher is slow on purpose.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def browser_of(db: None) -> Callable[[str], Client]:
    """A signed-in browser of the operator with this role."""

    def sign_in(role: str, **more: Any) -> Client:
        name = CAST[role]
        email = f"{name.lower()}@example.com"
        user = User.objects.filter(email=email).first()
        if user is None:
            user = User.objects.create_user(email, PASSWORD, role=role, display_name=name)
        client = Client(**more)
        client.force_login(user)
        settings_store.everything()
        return client

    return sign_in


@pytest.fixture
def ana(browser_of: Callable[[str], Client]) -> Client:
    """The owner's browser."""
    return browser_of("owner")


@pytest.fixture
def vera(browser_of: Callable[[str], Client]) -> Client:
    """The viewer's browser."""
    return browser_of("viewer")


def text_of(page: Any) -> str:
    return page.content.decode()


def confirm(client: Client, url: str, **typed: Any) -> Any:
    """Open an action's form, fill it in and send it, as a person does: with what the page carried."""
    form = client.get(url).context["form"]
    once = form.initial.get("once") or form["once"].value()
    first = client.post(url, {**typed, "once": str(once)})
    if first.status_code in (200, 409) and "preview" in first.context and first.context["preview"].seen:
        return client.post(url, {**typed, "once": str(once), "seen": first.context["preview"].seen})
    return first
