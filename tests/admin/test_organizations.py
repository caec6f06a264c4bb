"""Organizations and memberships in the admin: every change leaves an audit row."""

import pytest

from apps.core.models import AuditEntry
from apps.organizations.models import Membership, Organization, User
from tests import make

LIST = "/admin/organizations/organization/"
MEMBERS = "/admin/organizations/membership/"


def test_organization_is_made_through_the_service(site):
    site.post(f"{LIST}add/", {"organization_id": "initech", "name": "Initech", "metadata": '{"tier": 1}'})

    organization = Organization.objects.get(organization_id="initech")
    assert (organization.name, organization.metadata) == ("Initech", {"tier": 1})
    assert AuditEntry.objects.get(action="organization.create").actor == "operator:owner@example.com"


@pytest.mark.parametrize("organization_id", ["", "teams", "has space", "<b>", "acme-org"])
def test_wrong_or_taken_id_is_refused(site, organization_id):
    make.organization("acme-org")
    page = site.post(f"{LIST}add/", {"organization_id": organization_id, "name": "x", "metadata": ""})
    assert page.context["adminform"].form.errors
    assert Organization.objects.count() == 1


def test_change_writes_only_what_changed_and_audits_it(site):
    organization = make.organization("acme-org")
    page = f"{LIST}{organization.pk}/change/"

    site.post(
        page,
        {"name": "Acme", "metadata": "{}", "time_zone": "UTC", "organization_id": "other", "status": "suspended"},
    )

    changed = Organization.objects.get(pk=organization.pk)
    assert (changed.organization_id, changed.name, changed.status) == ("acme-org", "Acme", "active")
    audited = AuditEntry.objects.get(action="organization.update")
    assert (audited.before, audited.after) == ({"name": "Acme-Org"}, {"name": "Acme"})


def test_saving_without_a_change_leaves_no_audit_row(site):
    organization = make.organization("acme-org")
    site.post(f"{LIST}{organization.pk}/change/", {"name": organization.name, "metadata": "{}"})
    assert not AuditEntry.objects.filter(action="organization.update").exists()


@pytest.mark.parametrize(("action", "status"), [("suspend", "suspended"), ("resume", "active")])
def test_action_sets_the_state_and_audits_its_reason(site, action, status):
    organization = make.organization()
    Organization.objects.update(status="active" if action == "suspend" else "suspended")
    data = {"action": action, "_selected_action": [organization.pk], "confirmed": "yes", "reason": "unpaid"}

    site.post(LIST, data)

    changed = Organization.objects.get(pk=organization.pk)
    assert (changed.status, changed.status_reason) == (status, "unpaid")
    assert AuditEntry.objects.get(action="organization.status").reason == "unpaid"


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
