"""Issue, authenticate and revoke operator tokens.

A token's secret leaves `issue` once and is kept nowhere. Each use is looked up: a revoked token, and one whose
operator was made inactive, is refused from then on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from apps.core import audit, clock, crypto
from apps.core.errors import InvalidField
from apps.core.ids import parse_uuid
from apps.core.secret_form import SecretForm
from apps.organizations import rights
from apps.organizations.errors import InvalidToken, TokenNotFound
from apps.organizations.identity import Operator
from apps.organizations.models import OperatorToken, User
from apps.organizations.rights import Right

FORM = SecretForm("op-")
NAME_MAX = 255
_USED_EVERY = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Presented:
    """A token that was accepted, with its operator as they are now."""

    token: OperatorToken
    user: User


def authenticate(secret: str, *, address: str = "") -> Presented:
    """Who is behind a presented token: one query, none for a malformed one.

    Raises: InvalidToken for malformed, unknown, revoked and expired tokens and inactive operators alike.
    """
    if not FORM.is_well_formed(secret):
        raise InvalidToken
    usable = usable_tokens().select_related("operator")
    token = usable.filter(digest=crypto.keyed_hash(secret)).first()
    if token is None:
        raise InvalidToken
    if token.last_used_at is None or clock.now() - token.last_used_at > _USED_EVERY:
        OperatorToken.objects.filter(pk=token.pk).update(last_used_at=Now(), last_used_address=address[:64])
    return Presented(token, token.operator)


def usable_tokens() -> QuerySet[OperatorToken]:
    """Those that would be accepted now."""
    return OperatorToken.objects.filter(
        expires_at__gt=Now(), revoked_at__isnull=True, operator__is_active=True
    ).exclude(operator__role="")


def issue(
    user: User,
    *,
    by: Operator,
    name: str,
    scopes: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> tuple[OperatorToken, str]:
    """Make a token for an operator. Returns the row and the secret, which is kept nowhere.

    Without `expires_at` it lasts OPERATOR_TOKEN_DAYS. Raises: RightMissing, InvalidField.
    """
    by.require_may_manage(user.role, doing=f"issue tokens for {_roles(user.role)}")
    _require_name(name)
    wanted = _scopes(user, scopes)
    ends = _expiry(expires_at)
    by.require_may_give(user.role, wanted, doing="issue a token that can do more than it can itself")
    secret = FORM.generate()
    with transaction.atomic():
        token = OperatorToken.objects.create(
            operator=user,
            name=name,
            prefix=FORM.shown(secret),
            digest=crypto.keyed_hash(secret),
            scopes=wanted,
            expires_at=ends,
            created_by=str(by.actor)[:255],
        )
        audit.record("token.issue", actor=by.actor, kind="token", id=str(token.pk), after=_described(token))
    return token, secret


def revoke(token: OperatorToken, *, by: Operator) -> OperatorToken:
    """End a token now. A repeat changes nothing. Raises: RightMissing."""
    by.require_may_manage(token.operator.role, doing=f"revoke tokens of {_roles(token.operator.role)}")
    with transaction.atomic():
        if OperatorToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=Now()):
            audit.record(
                "token.revoke",
                actor=by.actor,
                kind="token",
                id=str(token.pk),
                before={"revoked": False},
                after={"revoked": True, "operator": token.operator.email, "prefix": token.prefix},
            )
    token.refresh_from_db()
    return token


def find(user: User, token_id: str) -> OperatorToken:
    """A token of the operator. Raises: TokenNotFound."""
    parsed = parse_uuid(token_id)
    token = (
        OperatorToken.objects.select_related("operator").filter(operator=user, pk=parsed).first() if parsed else None
    )
    if token is None:
        raise TokenNotFound(f"This operator has no token '{token_id[:100]}'")
    return token


def listing(user: User) -> QuerySet[OperatorToken]:
    """The operator's tokens, revoked and expired ones too, newest first."""
    return OperatorToken.objects.filter(operator=user).order_by("-created_at", "-id")


def _roles(role: str) -> str:
    return f"operators of role {role}" if role else "somebody who is no operator"


def _require_name(name: str) -> None:
    if not len(name.strip()) >= 1 or len(name) > NAME_MAX:
        raise InvalidField(
            "name", f"Say what the token is for, in 1 to {NAME_MAX} characters.", value=name[:NAME_MAX]
        )


def _scopes(user: User, scopes: Sequence[str]) -> list[str]:
    """In the table's order, each once. Raises: InvalidField for none of the rights and for none of the role's."""
    unknown = [scope for scope in scopes if scope not in list(Right)]
    if unknown:
        known = ", ".join(Right)
        raise InvalidField(
            "scopes", f"There is no right '{unknown[0][:100]}'. Rights are: {known}.", value=unknown[0][:100]
        )
    beyond = [scope for scope in scopes if rights.level(user.role, Right(scope)) is rights.Level.NONE]
    if beyond:
        raise InvalidField(
            "scopes", f"The operator's role ({user.role}) does not hold '{beyond[0]}'.", value=beyond[0]
        )
    return [right.value for right in Right if right in scopes]


def _expiry(wanted: datetime | None) -> datetime:
    """Raises: InvalidField for the past and beyond OPERATOR_TOKEN_MAX_DAYS."""
    now = clock.now()
    if wanted is None:
        return now + timedelta(days=settings.OPERATOR_TOKEN_DAYS)
    # A minute more, so that "in 365 days" by the caller's clock is accepted.
    if not now < wanted <= now + timedelta(days=settings.OPERATOR_TOKEN_MAX_DAYS, minutes=1):
        raise InvalidField(
            "expires_at",
            f"Must be in the future, by at most {settings.OPERATOR_TOKEN_MAX_DAYS} days.",
            value=clock.iso(wanted),
        )
    return wanted


def _described(token: OperatorToken) -> dict[str, object]:
    return {
        "operator": token.operator.email,
        "name": token.name,
        "prefix": token.prefix,
        "scopes": token.scopes,
        "expires_at": clock.iso(token.expires_at),
    }
