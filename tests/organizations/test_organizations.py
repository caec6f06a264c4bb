"""Organizations: made once, suspended and resumed, never forgotten."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.core.errors import InvalidField
from apps.core.models import AuditEntry
from apps.organizations import services as organizations
from apps.organizations.errors import OrganizationExists, OrganizationNotFound
from apps.organizations.models import Organization, User
from tests import make

pytestmark = pytest.mark.django_db


def create(organization_id: str = "acme-inc", **more: Any) -> Organization:
    return organizations.create(organization_id=organization_id, name="Acme", actor=make.TESTER, **more)


def audited() -> list[tuple[str, dict, dict]]:
    return list(AuditEntry.objects.order_by("id").values_list("action", "before", "after"))


def test_organization_is_active_and_audited():
    made = create(metadata={"tier": "gold"})

    found = organizations.find("acme-inc")
    assert (found, found.status, found.metadata) == (made, "active", {"tier": "gold"})
    assert audited() == [("organization.create", {}, {"name": "Acme"})]


def test_id_is_never_given_twice():
    create()

    with pytest.raises(OrganizationExists) as caught:
        create()

    assert str(caught.value) == "Organization with ID 'acme-inc' already exists"
    assert len(audited()) == 1


@pytest.mark.parametrize("organization_id", ["", "no good", "a/b", "create", "x" * 256, "-a"])
def test_id_that_cannot_be_one_is_refused(organization_id: str):
    with pytest.raises(InvalidField) as caught:
        create(organization_id)

    assert caught.value.errors[0]["loc"] == ["body", "organization_id"]
    assert Organization.objects.count() == 0


def test_unknown_organization_is_not_found():
    with pytest.raises(OrganizationNotFound, match="Organization 'acme-inc' not found"):
        organizations.find("acme-inc")


def test_suspension_and_resumption_are_audited_once_each():
    made = create()
    for status in ("suspended", "suspended", "active", "active"):
        changed = organizations.set_status(made, status=status, actor=make.TESTER)
        assert changed.status == Organization.objects.get().status == status

    assert audited()[1:] == [
        ("organization.status", {"status": "active"}, {"status": "suspended"}),
        ("organization.status", {"status": "suspended"}, {"status": "active"}),
    ]


def test_new_reason_for_the_same_state_is_a_change():
    made = create()
    organizations.set_status(made, status="suspended", actor=make.TESTER, reason="unpaid")
    organizations.set_status(made, status="suspended", actor=make.TESTER, reason="fraud")

    assert Organization.objects.get().status_reason == "fraud"
    assert list(
        AuditEntry.objects.filter(action="organization.status").order_by("id").values_list("reason", flat=True)
    ) == [
        "unpaid",
        "fraud",
    ]


def test_list_is_narrowed_by_state_text_and_time():
    for name in ("c", "a", "b"):
        create(name)
    organizations.set_status(organizations.find("b"), status="suspended", actor=make.TESTER)

    def listed(**more: Any) -> list[str]:
        return [each.organization_id for each in organizations.matching(**more)]

    assert listed() == ["a", "b", "c"]
    assert listed(status="active") == ["a", "c"]
    assert listed(text="B") == ["b"]
    Organization.objects.filter(organization_id="b").update(created_at=datetime(2026, 1, 2, tzinfo=UTC))
    second = datetime(2026, 1, 2, tzinfo=UTC)
    assert (listed(created_to=second), listed(created_to=second + timedelta(days=1))) == ([], ["b"])
    assert listed(created_from=second) == ["a", "b", "c"]
    assert listed(created_from=second + timedelta(days=1)) == ["a", "c"]


def test_user_is_known_by_e_mail_in_lower_case_and_keeps_no_password():
    user = User.objects.create_user("Ann@Example.COM", "correct horse")

    assert user.email == "ann@example.com"
    assert user.check_password("correct horse")
    assert "correct horse" not in User.objects.values_list("password", flat=True).get()
    assert not user.is_staff


def test_superuser_may_sign_in_to_the_console():
    user = User.objects.create_superuser("ann@example.com", "correct horse")

    assert user.is_staff
    assert user.is_superuser
