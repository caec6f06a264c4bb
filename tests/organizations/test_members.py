"""Members of organizations: invited by e-mail, given a role, removed; each change is audited."""

import pytest

from apps.core.errors import InvalidField
from apps.core.models import AuditEntry
from apps.organizations import members, services
from apps.organizations.errors import MemberExists, MemberNotFound
from apps.organizations.models import Membership, User
from tests import make

pytestmark = pytest.mark.django_db


def invited(email: str = "ana@example.com", organization_id: str = "acme", role: str = "viewer") -> Membership:
    organization = services.find(organization_id)
    return members.invite(organization, email=email, role=role, actor=make.TESTER, display_name="Ana")


@pytest.fixture(autouse=True)
def _organizations() -> None:
    make.organization("acme")
    make.organization("globex")


def test_whoever_is_invited_is_a_user_without_a_password():
    member = invited("Ana@Example.com")

    assert (member.user.email, member.user.display_name, member.role) == ("ana@example.com", "Ana", "viewer")
    assert not member.user.has_usable_password()
    assert not member.user.is_staff
    audited = AuditEntry.objects.get(action="member.invite")
    assert audited.object_id == f"acme/{member.user.public_id}"
    assert audited.after == {"organization_id": "acme", "email": "ana@example.com", "role": "viewer"}


def test_one_person_may_be_in_several_organizations():
    first, second = invited(), invited(organization_id="globex", role="owner")
    assert first.user == second.user
    assert User.objects.count() == 1


def test_nobody_is_in_one_twice():
    invited()
    with pytest.raises(MemberExists):
        invited("ANA@example.com")
    assert AuditEntry.objects.filter(action="member.invite").count() == 1


@pytest.mark.parametrize(("email", "role", "field"), [("no", "viewer", "email"), ("a@example.com", "king", "role")])
def test_bad_terms_name_the_field(email: str, role: str, field: str):
    with pytest.raises(InvalidField) as refused:
        invited(email, role=role)
    assert refused.value.errors[0]["loc"] == ["body", field]
    assert not User.objects.exists()


def test_a_role_is_changed_once():
    member = invited()
    for _ in range(2):
        members.set_role(member, "billing", actor=make.TESTER)

    member.refresh_from_db()
    assert member.role == "billing"
    audited = AuditEntry.objects.get(action="member.role")
    assert (audited.before, audited.after["role"]) == ({"role": "viewer"}, "billing")


def test_who_is_removed_remains_a_user():
    member = invited()
    members.remove(member, actor=make.TESTER)

    assert not Membership.objects.exists()
    assert User.objects.filter(email="ana@example.com").exists()
    assert AuditEntry.objects.get(action="member.remove").before == {"role": "viewer"}
    with pytest.raises(MemberNotFound):
        members.remove(member, actor=make.TESTER)


def test_a_member_is_found_in_their_own_organization_alone():
    member = invited()
    assert members.find(member.organization, str(member.user.public_id)) == member
    other = invited("bo@example.com", "globex")
    for id in (str(other.user.public_id), "nonsense"):
        with pytest.raises(MemberNotFound):
            members.find(member.organization, id)
