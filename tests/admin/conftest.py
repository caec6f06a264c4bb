"""Operators signed in to the admin site."""

from typing import Any

import pytest
from django.test import Client

from apps.organizations.models import User

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _settings(settings: Any) -> None:
    settings.EMBEDDED = True  # the demo provider answers
    # The default hasher is slow on purpose: half a second for every operator of a test.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_superuser("owner@example.com", PASSWORD)


@pytest.fixture
def site(owner: User) -> Client:
    """A browser in which the owner is signed in."""
    return signed_in(owner)


def signed_in(user: User, **more: Any) -> Client:
    client = Client(**more)
    client.force_login(user)
    return client


def staff(role: str = "viewer", email: str = "staff@example.com") -> User:
    """An operator of this role."""
    return User.objects.create_user(email, PASSWORD, role=role)
