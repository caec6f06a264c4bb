"""Users in the admin: known by e-mail, rights changed by superusers alone, passwords never audited."""

import pytest
from django.contrib.auth.models import Group, Permission

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
    site.post(f"{LIST}add/", NEW | {"is_staff": "on"})

    user = User.objects.get(email="new@example.com")
    assert user.is_staff
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


def test_new_rights_are_audited(site):
    user = User.objects.create_user("member@example.com")
    group = Group.objects.create(name="billing")
    right = Permission.objects.get(codename="add_grant")
    data = {"email": user.email, "display_name": "", "is_active": "on", "is_staff": "on"}

    site.post(page_of(user), data | {"groups": [group.pk], "user_permissions": [right.pk]})

    audited = AuditEntry.objects.get(action="user.update")
    assert audited.after == {"is_staff": True, "groups": ["billing"], "user_permissions": [str(right)]}
    assert audited.before == {"is_staff": False, "groups": [], "user_permissions": []}


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


@pytest.fixture
def helpdesk(db):
    """An operator who may change users but is no superuser."""
    rights = ("view_user", "add_user", "change_user")
    return signed_in(staff(*(f"organizations.{right}" for right in rights), "auth.change_group", "auth.add_group"))


def test_nobody_makes_themselves_a_superuser(helpdesk):
    me = User.objects.get(email="staff@example.com")
    data = {"email": me.email, "display_name": "", "is_active": "on", "is_staff": "on", "is_superuser": "on"}
    assert helpdesk.post(page_of(me), data).status_code == 403
    assert not User.objects.get(pk=me.pk).is_superuser


def test_operators_are_changed_by_superusers_alone(helpdesk, owner):
    assert helpdesk.post(page_of(owner), {"email": "x@example.com"}).status_code == 403
    data = dict.fromkeys(("password1", "password2"), PASSWORD) | {"usable_password": "true"}
    assert helpdesk.post(f"{LIST}{owner.pk}/password/", data).status_code == 403


def test_member_is_given_no_rights_without_being_a_superuser(helpdesk):
    member = User.objects.create_user("member@example.com")
    data = {"email": "member@example.com", "display_name": "M", "is_active": "on", "is_staff": "on"}
    helpdesk.post(page_of(member), data | {"is_superuser": "on"})
    helpdesk.post(f"{LIST}add/", NEW | {"is_staff": "on"})

    member.refresh_from_db()
    assert (member.display_name, member.is_staff, member.is_superuser) == ("M", False, False)
    assert not User.objects.get(email="new@example.com").is_staff


def test_groups_are_changed_by_superusers_alone(helpdesk, site):
    group = Group.objects.create(name="billing")
    page = f"/admin/auth/group/{group.pk}/change/"
    assert helpdesk.post(page, {"name": "mine"}).status_code == 403
    assert helpdesk.post("/admin/auth/group/add/", {"name": "mine"}).status_code == 403

    site.post(page, {"name": "billing", "permissions": [Permission.objects.get(codename="add_grant").pk]})

    assert AuditEntry.objects.get(action="group.update").before == {"permissions": []}
