"""Who must have a second factor, and who is an operator at all."""

from typing import TypeGuard

from allauth.mfa.utils import is_mfa_enabled
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.urls import reverse

from apps.core import settings_store
from apps.organizations.models import User

_HAS_ONE = "has_second_factor"


def is_operator(user: AbstractBaseUser | AnonymousUser) -> TypeGuard[User]:
    """Whether the console is theirs to use."""
    return isinstance(user, User) and user.is_active and user.is_staff


def lacks_second_factor(request: HttpRequest) -> bool:
    """Whether the operator must first add the second factor that the platform's settings ask for."""
    if not settings_store.get("second_factor_required") or not is_operator(request.user):
        return False
    if request.session.get(_HAS_ONE) or request.path_info.startswith(_always_open()):
        return False
    if is_mfa_enabled(request.user):
        request.session[_HAS_ONE] = True
        return False
    return True


def forget(request: HttpRequest) -> None:
    """Look again, after a second factor was removed."""
    request.session.pop(_HAS_ONE, None)


def _always_open() -> tuple[str, ...]:
    return (
        reverse("mfa_index"),
        reverse("account_reauthenticate"),
        reverse("account_logout"),
        reverse("account_login"),
    )
