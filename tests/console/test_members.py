"""Members in the console: invited, given another role, removed, by the services of the API."""

import pytest

from apps.core.models import AuditEntry
from apps.organizations import members
from apps.organizations.models import Membership
from tests import make
from tests.console.conftest import confirm, text_of

INVITE = "/admin/org/acme-org/invite/"
MEMBERS = "/admin/org/acme-org/members/"


@pytest.fixture
def org(db):
    return make.organization("acme-org")


@pytest.fixture
def mia(org):
    return members.invite(org, email="mia@example.com", role="viewer", actor=make.TESTER)


def url(member, action) -> str:
    return f"/admin/org/{member.organization.organization_id}/member/{member.user.public_id}/{action}/"


def actions() -> list[str]:
    return list(AuditEntry.objects.filter(actor="operator:ana@example.com").values_list("action", flat=True))


def test_member_is_invited_given_a_role_and_removed(ana, org):
    done = confirm(ana, INVITE, email="Mia@Example.com", display_name="Mia", role="viewer")
    assert (done.status_code, done.url) == (303, MEMBERS)
    member = Membership.objects.get()
    assert (member.user.email, member.user.role, member.role) == ("mia@example.com", "", "viewer")
    assert "mia@example.com" in text_of(ana.get(MEMBERS))

    confirm(ana, url(member, "role"), role="owner")
    assert Membership.objects.get().role == "owner"

    confirm(ana, url(member, "remove"))
    assert not Membership.objects.exists()
    assert sorted(actions()) == ["member.invite", "member.remove", "member.role"]


def test_member_is_invited_once(ana, mia):
    page = confirm(ana, INVITE, email="mia@example.com", role="owner")
    assert page.status_code == 422
    assert "is a member of" in text_of(page)
    assert Membership.objects.get().role == "viewer"


@pytest.mark.parametrize(("field", "value"), [("email", "nobody"), ("email", ""), ("role", "king")])
def test_wrong_field_invites_nobody(ana, org, field, value):
    page = confirm(ana, INVITE, **{"email": "mia@example.com", "role": "viewer", field: value})
    assert page.status_code == 422
    assert page.context["form"].errors[field]
    assert not Membership.objects.exists()


def test_support_may_too_and_viewers_may_not(browser_of, mia, vera):
    sam = browser_of("support")
    confirm(sam, url(mia, "role"), role="billing")
    assert Membership.objects.get().role == "billing"
    for address in (INVITE, url(mia, "role"), url(mia, "remove")):
        page = vera.get(address)
        assert page.status_code == 403
        assert "Your role (viewer) cannot change members." in text_of(page)
    assert "Remove" not in text_of(vera.get(MEMBERS))


def test_member_of_another_organization_is_not_found(ana, mia):
    make.organization("other")
    assert ana.get(url(mia, "role").replace("acme-org", "other")).status_code == 404


def test_getting_changes_nothing(ana, mia):
    for address in (INVITE, url(mia, "role"), url(mia, "remove")):
        assert ana.get(address).status_code == 200
    assert Membership.objects.get().role == "viewer"
