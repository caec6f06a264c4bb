"""Our rules for allauth: nobody signs up, every failed sign-in reads the same, e-mails are the users' own."""

import base64
import ipaddress
import secrets
import time
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.auth_backends import AuthenticationBackend
from allauth.core.internal import ratelimit
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from apps.console.signing_in import trail
from apps.core import crypto, settings_store
from apps.core.addresses import client_address
from apps.organizations.models import User

WRONG = "E-mail or password is wrong."
_NOT_SAID = {"account/messages/logged_in.txt", "account/messages/logged_out.txt"}


class PasswordBackend(AuthenticationBackend):  # type: ignore[misc]
    """By the e-mail of the user alone: allauth's table of further addresses lets nobody in."""

    def _authenticate_by_email(self, email: str, password: str) -> User | None:
        user: User | None = self._check_password(User.objects.filter(email=email.strip().lower()).first(), password)
        return user

    @classmethod
    def _stash_user(cls, user: Any) -> None:
        """An inactive user's right password is as wrong as any other."""


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    error_messages = DefaultAccountAdapter.error_messages | {
        "email_password_mismatch": WRONG,
        "invalid_login": WRONG,
        "account_inactive": WRONG,
        "incorrect_password": "That is not your password.",
        "enter_current_password": "That is not your present password.",
        "incorrect_code": "That code is wrong, or was used before.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        address = client_address(request.META)
        try:
            return str(ipaddress.ip_address(address))
        except ValueError:
            # A socket of this machine has no address.
            return "0.0.0.0"  # noqa: S104

    def add_message(
        self, request: HttpRequest, level: int, message_template: Any = None, *args: Any, **more: Any
    ) -> None:
        if message_template not in _NOT_SAID:
            super().add_message(request, level, message_template, *args, **more)

    def validation_error(self, code: str, *args: Any) -> ValidationError:
        if code == "too_many_login_attempts":
            minutes = _minutes_left(self.request, getattr(self, "_asked_for", ""))
            return ValidationError(f"Too many attempts. Try again in {minutes} min.", code=code)
        error: ValidationError = super().validation_error(code, *args)
        return error

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """One count for each e-mail, whichever of our host names was asked."""
        return str(credentials.get("email") or credentials.get("username") or "").strip().lower()

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        self._asked_for = self._get_login_attempts_cache_key(request, **credentials)
        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            trail.throttled(request, self._asked_for)
            raise

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        trail.sign_in_failed(request, self._get_login_attempts_cache_key(request, **credentials))

    def reauthenticate(self, user: User, password: str) -> bool:
        found = self.authenticate(self.request, email=user.email, password=password)
        return found is not None and found.pk == user.pk


def _minutes_left(request: HttpRequest, key: str) -> int:
    """After how many minutes the next attempt at this e-mail is looked at, 1 or more."""
    longest = 0.0
    for rate in ratelimit.get_rates(app="allauth.account", action="login_failed"):
        kept = ratelimit.get_cache_key(request, app="allauth.account", action="login_failed", rate=rate, key=key)
        history = cache.get(kept, [])
        if len(history) >= rate.amount:
            longest = max(longest, history[rate.amount - 1] + rate.duration - time.time())
    return max(1, -int(-longest // 60))


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Second factors: their secrets are encrypted at rest like all others."""

    error_messages = DefaultMFAAdapter.error_messages | {"incorrect_code": "That code is wrong, or was used before."}

    def encrypt(self, text: str) -> str:
        return crypto.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        # What no key of ours decrypts must match no code: an empty secret would have codes that anybody can compute.
        return crypto.decrypt(encrypted_text) or base64.b32encode(secrets.token_bytes(20)).decode()

    def get_totp_issuer(self) -> str:
        return str(settings_store.get("platform_name"))

    def _get_site_name(self) -> str:
        return str(settings_store.get("platform_name"))

    def generate_authenticator_name(self, user: User, type: Any) -> str:
        """Nothing to edit away: the browser names the passkey's keeper better than a number would."""
        return "Passkey"


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """OpenID Connect: an identity is the active operator whose e-mail the provider says it verified."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        trail.stranger(request, sociallogin.account.provider)
        return False

    def authenticate_by_email(self, sociallogin: Any) -> tuple[User, str] | None:
        for address in sociallogin.email_addresses:
            # Some providers write "true"; anything but true itself is not believed.
            if address.verified is True:
                user = User.objects.filter(email=address.email.lower(), is_active=True).exclude(role="").first()
                if user is not None:
                    # No second word: with it allauth would wipe the password of a user it thinks unverified.
                    sociallogin.user = user
                    return user, ""
        return None


class SessionsAdapter(DefaultUserSessionsAdapter):  # type: ignore[misc]
    def end_sessions(self, sessions: Any) -> None:
        ended = list(sessions)
        super().end_sessions(ended)
        trail.sessions_ended(ended)
