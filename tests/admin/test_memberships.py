"""Memberships in the admin: every change leaves an audit row."""

from apps.core.models import AuditEntry
from apps.organizations.models import Membership, User
from tests import make

MEMBERS = "/admin/organizations/membership/"


def test_membership_is_given_changed_and_taken_with_audit_rows(site):
    organization = make.organization("acme-org")
    user = User.objects.create_user("member@example.com")

    site.post(f"{MEMBERS}add/", {"organization": organization.pk, "user": user.pk, "role": "viewer"})
    place = Membership.objects.get()
    site.post(f"{MEMBERS}{place.pk}/change/", {"role": "owner"})
    site.post(f"{MEMBERS}{place.pk}/delete/", {"post": "yes"})

    rows = AuditEntry.objects.filter(object_kind="membership").order_by("created_at", "id")
    assert [row.action for row in rows] == ["membership.create", "membership.update", "membership.delete"]
    assert rows[1].after == {"role": "owner"}
    assert rows[2].before == {"organization": "acme-org", "user": "member@example.com", "role": "owner"}
    assert not Membership.objects.exists()


def test_memberships_deleted_from_the_list_are_audited_one_by_one(site):
    organization = make.organization()
    for number in range(2):
        user = User.objects.create_user(f"member{number}@example.com")
        Membership.objects.create(organization=organization, user=user)
    chosen = list(Membership.objects.values_list("pk", flat=True))

    site.post(MEMBERS, {"action": "delete_selected", "_selected_action": chosen, "post": "yes"})

    assert AuditEntry.objects.filter(action="membership.delete").count() == 2
    assert not Membership.objects.exists()
