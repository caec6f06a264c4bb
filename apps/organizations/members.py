"""Members of organizations: customers' people, by e-mail. Whoever is invited becomes a user without a password."""

from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from apps.core import audit
from apps.core.actors import Actor
from apps.core.ids import parse_uuid
from apps.organizations import people
from apps.organizations.errors import MemberExists, MemberNotFound
from apps.organizations.models import Membership, Organization, User

ROLES = tuple(Membership.Role.values)


def listing(organization: Organization) -> QuerySet[Membership]:
    """The organization's members by e-mail, with their users."""
    return Membership.objects.filter(organization=organization).select_related("user").order_by("user__email")


def find(organization: Organization, user_id: str) -> Membership:
    """A member by the user's public id. Raises: MemberNotFound."""
    parsed = parse_uuid(user_id)
    member = listing(organization).filter(user__public_id=parsed).first() if parsed else None
    if member is None:
        raise MemberNotFound(f"Organization '{organization.organization_id}' has no member '{user_id[:100]}'")
    return member


def invite(organization: Organization, *, email: str, role: str, actor: Actor, display_name: str = "") -> Membership:
    """Give somebody a place. Raises: InvalidField, MemberExists."""
    address = people.normalized_email(email)
    people.require_role(role, ROLES)
    people.require_display_name(display_name)
    try:
        with transaction.atomic():
            # Without a password until they choose one; two organizations may invite the same person at once.
            made = {"display_name": display_name, "password": make_password(None)}
            user, _ = User.objects.get_or_create(email=address, defaults=made)
            member = Membership.objects.create(organization=organization, user=user, role=role)
            _audited("invite", member, actor, before={}, after={"role": role})
    except IntegrityError:
        raise MemberExists(f"'{address}' is a member of '{organization.organization_id}' already") from None
    return member


def set_role(member: Membership, role: str, *, actor: Actor) -> Membership:
    """Raises: InvalidField, MemberNotFound when the place was taken away meanwhile."""
    people.require_role(role, ROLES)
    with transaction.atomic():
        locked = _locked(member)
        if locked.role != role:
            _audited("role", locked, actor, before={"role": locked.role}, after={"role": role})
            locked.role = role
            locked.save(update_fields=["role"])
    return locked


def remove(member: Membership, *, actor: Actor) -> None:
    """Take the place away; the user stays. Raises: MemberNotFound when it was taken away meanwhile."""
    with transaction.atomic():
        locked = _locked(member)
        _audited("remove", locked, actor, before={"role": locked.role}, after={})
        locked.delete()


def _locked(member: Membership) -> Membership:
    locked = Membership.objects.select_for_update(of=("self",)).select_related("organization", "user")
    found = locked.filter(pk=member.pk).first()
    if found is None:
        raise MemberNotFound(f"'{member.user.email}' is no member any more")
    return found


def _audited(what: str, member: Membership, actor: Actor, *, before: dict[str, str], after: dict[str, str]) -> None:
    named = {"organization_id": member.organization.organization_id, "email": member.user.email}
    audit.record(
        f"member.{what}",
        actor=actor,
        kind="member",
        id=f"{named['organization_id']}/{member.user.public_id}",
        before=before,
        after=named | after,
    )
