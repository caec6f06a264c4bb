"""Operators: name, change and deactivate them. They are never deleted, since the audit trail names them.

Invariants: an active owner is always left; nobody changes their own role; nobody gives more than they hold.
"""

from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from apps.core import audit
from apps.core.ids import parse_uuid
from apps.organizations import people
from apps.organizations.errors import LastOwner, OperatorExists, OperatorNotFound, OwnRole
from apps.organizations.identity import Operator
from apps.organizations.models import User
from apps.organizations.rights import Role
from apps.organizations.services import require_time_zone

ROLES = tuple(role.value for role in Role)


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be different; None leaves it."""

    role: str | None = None
    is_active: bool | None = None
    display_name: str | None = None
    time_zone: str | None = None

    def wanted(self) -> dict[str, Any]:
        named = ("role", "is_active", "display_name", "time_zone")
        return {name: value for name in named if (value := getattr(self, name)) is not None}


def create(
    *,
    email: str,
    role: str,
    by: Operator,
    display_name: str = "",
    time_zone: str = "",
    password: str | None = None,
) -> User:
    """Name an operator; a customer's person becomes one with the same sign-in. Without a password they cannot sign
    in until they have one.

    Raises: RightMissing, InvalidField, OperatorExists.
    """
    address = people.normalized_email(email)
    people.require_role(role, ROLES)
    _require_fields(display_name, time_zone)
    _require_may_make(by, role)
    try:
        with transaction.atomic():
            user = _named(address, role, display_name, time_zone, password)
            after = {"email": user.email, **_described(user), "has_password": user.has_usable_password()}
            audit.record("operator.create", actor=by.actor, kind="operator", id=str(user.public_id), after=after)
    except IntegrityError:
        raise OperatorExists(f"Somebody else was named with the e-mail '{address}' a moment ago") from None
    return user


def _named(email: str, role: str, display_name: str, time_zone: str, password: str | None) -> User:
    user = User.objects.select_for_update(no_key=True).filter(email=email).first()
    if user is None:
        return User.objects.create_user(email, password, role=role, display_name=display_name, time_zone=time_zone)
    if user.role or not user.is_active:
        raise OperatorExists(f"'{email}' is an operator already, or an inactive user: change that one")
    user.role, user.display_name = role, display_name or user.display_name
    user.time_zone = time_zone or user.time_zone
    user.save(update_fields=["role", "display_name", "time_zone"])
    return user


def change(user: User, wanted: Change, *, by: Operator, reason: str = "") -> User:
    """Change an operator. What is as wanted already leaves no trace.

    Raises: RightMissing, InvalidField, OwnRole, LastOwner.
    """
    if wanted.role is not None:
        people.require_role(wanted.role, ROLES)
    _require_fields(wanted.display_name or "", wanted.time_zone or "")
    with transaction.atomic():
        owners = _locked_owners()
        locked = owners.get(user.pk) or User.objects.select_for_update(no_key=True).get(pk=user.pk)
        before, after = _differences(locked, wanted)
        _require_may_change(locked, after, by)
        _require_owner_left(owners, locked.pk, after)
        if after:
            for name, value in after.items():
                setattr(locked, name, value)
            locked.save(update_fields=list(after))
            audit.record(
                "operator.change",
                actor=by.actor,
                kind="operator",
                id=str(locked.public_id),
                before=before,
                after=after | {"email": locked.email},
                reason=reason,
            )
    return locked


def require_changeable(user_pk: int, wanted: Change, *, by: User) -> None:
    """For the admin site's form, which writes for itself, in the transaction of its change.

    Raises: OwnRole, LastOwner.
    """
    owners = _locked_owners()
    stored = User.objects.get(pk=user_pk)
    _, after = _differences(stored, wanted)
    if by.pk == user_pk and {"role", "is_active"} & after.keys():
        raise OwnRole
    _require_owner_left(owners, user_pk, after)


def find(public_id: str) -> User:
    """Raises: OperatorNotFound."""
    parsed = parse_uuid(public_id)
    user = User.objects.filter(public_id=parsed).exclude(role="").first() if parsed else None
    if user is None:
        raise OperatorNotFound(f"There is no operator '{public_id[:100]}'")
    return user


def by_email(email: str) -> User:
    """Raises: OperatorNotFound."""
    user = User.objects.filter(email=email.lower()).exclude(role="").first()
    if user is None:
        raise OperatorNotFound(f"There is no operator '{email[:100]}'")
    return user


def listing() -> QuerySet[User]:
    """All operators, inactive ones too, by e-mail."""
    return User.objects.exclude(role="").order_by("email")


def _locked_owners() -> dict[int, User]:
    """All active ones, in one order: two who make each other something else at the same time queue here."""
    owners = User.objects.filter(role=Role.OWNER, is_active=True)
    return {owner.pk: owner for owner in owners.select_for_update(no_key=True).order_by("pk")}


def _require_owner_left(owners: dict[int, User], user_pk: int, after: dict[str, Any]) -> None:
    if owners.keys() == {user_pk} and ("role" in after or after.get("is_active") is False):
        raise LastOwner


def _require_fields(display_name: str, time_zone: str) -> None:
    people.require_display_name(display_name)
    if time_zone:
        require_time_zone(time_zone)


def _require_may_make(by: Operator, role: str) -> None:
    by.require_may_manage(role, doing=f"name operators of role {role}")
    by.require_may_give(role, doing="name an operator who can do more than it can itself")


def _require_may_change(user: User, after: dict[str, Any], by: Operator) -> None:
    is_own = by.user is not None and by.user.pk == user.pk
    if is_own and not {"role", "is_active"} & after.keys():
        # Their own name and time zone are everybody's to choose, in the console's profile; here by who may manage.
        return
    by.require_may_manage(user.role, doing=f"change operators of role {user.role}")
    if is_own:
        raise OwnRole
    if "role" in after:
        _require_may_make(by, after["role"])


def _differences(user: User, wanted: Change) -> tuple[dict[str, Any], dict[str, Any]]:
    after = {name: value for name, value in wanted.wanted().items() if getattr(user, name) != value}
    return {name: getattr(user, name) for name in after}, after


def _described(user: User) -> dict[str, Any]:
    return {"role": user.role, "display_name": user.display_name, "time_zone": user.time_zone}
