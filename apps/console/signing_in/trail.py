"""Audit rows of signing in: who came, who failed, what protects an account. Never a password, code or key.

What strangers can cause is bounded: sign-in attempts are throttled before they leave a row, a throttled e-mail leaves
one row each five minutes, and unknown e-mails are not written down (people type passwords there).
"""

from collections.abc import Iterable
from typing import Any

from allauth.account.internal.flows.login import get_authentication_records
from allauth.account.signals import password_changed, password_set, user_logged_in
from allauth.core import context
from allauth.mfa import signals as mfa
from allauth.usersessions.internal.flows.sessions import end_other_sessions
from django.contrib.auth import signals as django_auth
from django.core.cache import cache
from django.http import HttpRequest

from apps.core import audit, crypto
from apps.core.actors import Actor
from apps.core.addresses import client_address
from apps.organizations.models import User

_THROTTLED_ROW_EVERY_S = 300


def connect() -> None:
    """Have allauth's signals write rows."""
    django_auth.user_logged_in.connect(_begin_idle_time, dispatch_uid="trail.idle")
    django_auth.user_logged_out.connect(_signed_out, dispatch_uid="trail.out")
    user_logged_in.connect(_signed_in, dispatch_uid="trail.in")
    for signal in (password_changed, password_set):
        signal.connect(_password_changed, dispatch_uid="trail.password")
    for signal, action in (
        (mfa.authenticator_added, "operator.second_factor_add"),
        (mfa.authenticator_removed, "operator.second_factor_remove"),
        (mfa.authenticator_reset, "operator.second_factor_reset"),
    ):
        signal.connect(_second_factor(action), weak=False, dispatch_uid=f"trail.{action}")
    mfa.authentication_failed.connect(_wrong_code, dispatch_uid="trail.code")


def sign_in_failed(request: HttpRequest, email: str) -> None:
    _about(request, "operator.sign_in_failed", email)


def throttled(request: HttpRequest, email: str) -> None:
    seen = f"trail.throttled:{crypto.fingerprint(email.encode())}"
    if cache.add(seen, 1, _THROTTLED_ROW_EVERY_S):
        _about(request, "operator.sign_in_throttled", email)


def stranger(request: HttpRequest, provider: str) -> None:
    """Somebody whom a provider vouches for, and who is no operator."""
    _record(request, "operator.sign_in_failed", "unknown", after={"provider": provider})


def sessions_ended(sessions: Iterable[Any]) -> None:
    for session in sessions:
        after = {"ip": session.ip, "user_agent": session.user_agent[:100]}
        _record(context.request, "operator.session_end", session.user.email, after=after)


def _about(request: HttpRequest, action: str, email: str) -> None:
    user = User.objects.filter(email=email).first()
    _record(request, action, user.email if user else "unknown", actor="")


def _record(
    request: HttpRequest, action: str, email: str, *, actor: str | None = None, after: dict[str, Any] | None = None
) -> None:
    signed_in = request.user.get_username() if request.user.is_authenticated else ""
    who = Actor("operator", (signed_in if actor is None else actor) or "", client_address(request.META))
    audit.record(action, actor=who, kind="user", id=email, after=after)


def _begin_idle_time(sender: Any, request: HttpRequest, **_: Any) -> None:
    from apps.console.signing_in.middleware import seen_now

    seen_now(request)


def _signed_in(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    methods = [record.get("type") or record["method"] for record in get_authentication_records(request, user)]
    _record(request, "operator.sign_in", user.email, after={"by": methods})


def _signed_out(sender: Any, request: HttpRequest, user: User | None, **_: Any) -> None:
    if user is not None:
        because = request.session.get("ended", "sign-out")
        _record(request, "operator.sign_out", user.email, after={"because": because})


def _password_changed(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    _record(request, "user.password", user.email)
    end_other_sessions(request, user)


def _second_factor(action: str) -> Any:
    def write(sender: Any, request: HttpRequest, user: User, authenticator: Any, **_: Any) -> None:
        from apps.console.signing_in import policy

        policy.forget(request)
        _record(request, action, user.email, after={"type": str(authenticator.type)})

    return write


def _wrong_code(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    _record(request, "operator.second_factor_failed", user.email)
