"""Users in the admin: known by e-mail, roles changed by owners alone, passwords never audited."""

import pytest

from apps.core.models import AuditEntry
from apps.organizations.models import User
from tests.admin.conftest import PASSWORD, signed_in, staff

LIST = "/admin/organizations/user/"
NEW = {"email": "New@Example.com", "display_name": "New", "usable_password": "true"} | dict.fromkeys(
    ("password1", "password2"), PASSWORD
)


def page_of(user: User) -> str:
    return f"{LIST}{user.pk}/change/"


def test_new_user_signs_in_with_the_password(site, client):
    site.post(f"{LIST}add/", NEW | {"role": "support"})

    user = User.objects.get(email="new@example.com")
    assert user.role == "support"
    assert client.login(username="new@example.com", password=PASSWORD)
    audited = AuditEntry.objects.get(action="user.create")
    assert audited.object_id == "new@example.com"
    assert "password" not in str(audited.after)
    assert PASSWORD not in str(audited.after)


def test_address_is_taken_whatever_its_case(site):
    User.objects.create_user("new@example.com")
    page = site.post(f"{LIST}add/", NEW)
    assert page.context["adminform"].form.errors["email"]


def test_weak_password_is_refused(site):
    page = site.post(f"{LIST}add/", NEW | {"password1": "short", "password2": "short"})
    assert page.context["adminform"].form.errors["password2"]


def test_new_role_is_audited(site):
    user = User.objects.create_user("member@example.com")

    site.post(page_of(user), {"email": user.email, "display_name": "", "is_active": "on", "role": "billing"})

    audited = AuditEntry.objects.get(action="user.update")
    assert (audited.before, audited.after) == ({"role": ""}, {"role": "billing"})


def test_changed_password_is_audited_without_it(site, client):
    user = User.objects.create_user("member@example.com", PASSWORD)
    data = dict.fromkeys(("password1", "password2"), "another long one") | {"usable_password": "true"}

    site.post(f"{LIST}{user.pk}/password/", data)

    assert client.login(username=user.email, password="another long one")
    audited = AuditEntry.objects.get(action="user.password")
    assert (audited.object_id, audited.before, audited.after) == (user.email, {}, {})


def test_refused_password_leaves_no_audit_row(site):
    user = User.objects.create_user("member@example.com", PASSWORD)
    site.post(f"{LIST}{user.pk}/password/", {"password1": "a", "password2": "b", "usable_password": "true"})
    assert not AuditEntry.objects.filter(action="user.password").exists()


@pytest.mark.parametrize("role", ["viewer", "support", "billing"])
def test_nobody_gives_themselves_another_role(db, role):
    me = staff(role)
    data = {"email": me.email, "display_name": "", "is_active": "on", "role": "owner"}
    assert signed_in(me).post(page_of(me), data).status_code == 403
    assert User.objects.get(pk=me.pk).role == role


def test_operators_are_changed_by_those_who_may(owner):
    support = signed_in(staff("support"))
    assert support.post(page_of(owner), {"email": "x@example.com"}).status_code == 403
    data = dict.fromkeys(("password1", "password2"), PASSWORD) | {"usable_password": "true"}
    assert support.post(f"{LIST}{owner.pk}/password/", data).status_code == 403
    assert support.post(f"{LIST}add/", NEW | {"role": "owner"}).status_code == 403


def test_an_owner_is_always_left_and_nobody_changes_their_own_role(owner):
    data = {"email": owner.email, "display_name": "", "is_active": "on", "role": "viewer"}
    own = signed_in(owner).post(page_of(owner), data, follow=True)
    assert "Nobody changes their own role" in own.content.decode()
    inactive = {"email": owner.email, "display_name": "", "role": "owner"}
    signed_in(owner).post(page_of(owner), inactive)
    assert User.objects.get(pk=owner.pk).is_active

    second = staff("owner", "second@example.com")
    signed_in(second).post(page_of(owner), data)
    assert User.objects.get(pk=owner.pk).role == "viewer"
    renamed = {"email": second.email, "display_name": "Second", "is_active": "on", "role": "owner"}
    signed_in(second).post(page_of(second), renamed)
    assert User.objects.get(pk=second.pk).display_name == "Second"
