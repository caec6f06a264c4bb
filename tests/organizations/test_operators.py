"""Operators: who names whom, an owner is always left, and nobody gives more than they hold."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from apps.core.errors import DomainError, InvalidField
from apps.core.models import AuditEntry
from apps.organizations import members, operators
from apps.organizations.errors import LastOwner, OperatorExists, OperatorNotFound, OwnRole
from apps.organizations.identity import Operator
from apps.organizations.models import User
from apps.organizations.operators import Change
from apps.organizations.rights import RightMissing
from tests import make


def test_a_new_operator_signs_in_once_they_have_a_password(db: None):
    user = operators.create(email="Ana@Example.com", role="admin", by=make.PLATFORM, display_name="Ana")

    assert (user.email, user.role, user.is_staff, user.has_usable_password()) == (
        "ana@example.com",
        "admin",
        True,
        False,
    )
    audited = AuditEntry.objects.get(action="operator.create")
    assert (audited.object_kind, audited.object_id) == ("operator", str(user.public_id))
    assert audited.after["role"] == "admin"


def test_a_password_leaves_no_trace(db: None, settings: Any):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    user = operators.create(email="ana@example.com", role="admin", by=make.PLATFORM, password="a long secret word")

    assert user.check_password("a long secret word")
    audited = str(list(AuditEntry.objects.values()))
    assert "secret word" not in audited
    assert user.password not in audited


def test_a_customers_person_becomes_an_operator_with_the_same_sign_in(db: None):
    member = members.invite(make.organization("acme"), email="ana@example.com", role="viewer", actor=make.TESTER)

    user = operators.create(email="ana@example.com", role="support", by=make.PLATFORM)

    assert user.pk == member.user.pk


def test_nobody_is_named_twice(db: None):
    make.operator("support", email="ana@example.com")
    with pytest.raises(OperatorExists):
        operators.create(email="ANA@example.com", role="owner", by=make.PLATFORM)


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"email": "nonsense", "role": "admin"}, "email"),
        ({"email": "x" * 250 + "@example.com", "role": "admin"}, "email"),
        ({"email": "a@example.com", "role": "king"}, "role"),
        ({"email": "a@example.com", "role": ""}, "role"),
        ({"email": "a@example.com", "role": "admin", "time_zone": "Mars/Olympus"}, "time_zone"),
        ({"email": "a@example.com", "role": "admin", "display_name": "x" * 256}, "display_name"),
    ],
)
def test_bad_terms_name_the_field(db: None, terms: dict[str, str], field: str):
    with pytest.raises(InvalidField) as refused:
        operators.create(by=make.PLATFORM, **terms)
    assert refused.value.errors[0]["loc"] == ["body", field]
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("actor", "role", "may"),
    [
        ("owner", "owner", True),
        ("admin", "billing", True),
        ("admin", "viewer", True),
        ("admin", "admin", False),
        ("admin", "owner", False),
        ("billing", "viewer", False),
        ("support", "viewer", False),
        ("viewer", "viewer", False),
    ],
)
def test_who_names_and_changes_whom(db: None, actor: str, role: str, may: bool):
    by = make.operator(actor).works
    target = make.operator(role, email="target@example.com").user
    acts = [
        lambda: operators.create(email="new@example.com", role=role, by=by),
        lambda: operators.change(target, Change(is_active=False), by=by),
    ]
    for act in acts:
        if may:
            act()
        else:
            with pytest.raises(RightMissing):
                act()


def test_an_admin_makes_nobody_an_admin(db: None):
    target = make.operator("viewer").user
    with pytest.raises(RightMissing):
        operators.change(target, Change(role="admin"), by=make.operator("admin").works)
    target.refresh_from_db()
    assert target.role == "viewer"


def test_a_narrow_token_names_nobody_who_can_do_more(db: None):
    by = Operator(make.TESTER, "owner", make.operator("owner").user, ("view", "operators.write"))
    with pytest.raises(RightMissing, match="more than it can itself"):
        operators.create(email="a@example.com", role="billing", by=by)
    operators.create(email="a@example.com", role="viewer", by=by)


def test_a_change_is_audited_with_before_and_after(db: None):
    target = make.operator("viewer").user
    change = Change(role="support", display_name="Vera", time_zone="Europe/Berlin")

    changed = operators.change(target, change, by=make.PLATFORM)
    operators.change(target, change, by=make.PLATFORM)

    assert (changed.role, changed.display_name, changed.time_zone) == ("support", "Vera", "Europe/Berlin")
    audited = AuditEntry.objects.get(action="operator.change")
    assert audited.before == {"role": "viewer", "display_name": "", "time_zone": ""}
    assert audited.after["role"] == "support"


@pytest.mark.parametrize("change", [Change(role="admin"), Change(is_active=False)])
def test_the_last_owner_stays(db: None, change: Change):
    owner = make.operator("owner").user
    make.operator("admin")
    with pytest.raises(LastOwner, match="Name another owner first"):
        operators.change(owner, change, by=make.PLATFORM)

    make.operator("owner", email="second@example.com")
    operators.change(owner, change, by=make.PLATFORM)


@pytest.mark.parametrize("change", [Change(role="viewer"), Change(is_active=False)])
def test_nobody_changes_their_own_role(db: None, change: Change):
    owner, _ = make.operator("owner"), make.operator("owner", email="second@example.com")
    with pytest.raises(OwnRole):
        operators.change(owner.user, change, by=owner.works)


@pytest.mark.parametrize("id", ["nonsense", "00000000-0000-7000-8000-000000000000"])
def test_who_is_no_operator_is_not_found(db: None, id: str):
    with pytest.raises(OperatorNotFound):
        operators.find(id)
    person = User.objects.create_user("member@example.com")
    with pytest.raises(OperatorNotFound):
        operators.find(str(person.public_id))


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_two_owners_who_depose_each_other_leave_one():
    first, second = make.operator("owner"), make.operator("owner", email="second@example.com")

    def depose(pair: tuple[make.Staff, make.Staff]) -> str:
        by, target = pair
        try:
            operators.change(target.user, Change(role="viewer"), by=by.works)
        except DomainError as error:
            return error.code
        finally:
            connection.close()
        return "done"

    with ThreadPoolExecutor(2) as pool:
        outcomes = sorted(pool.map(depose, [(first, second), (second, first)]))

    assert outcomes == ["done", "last_owner"]
    assert User.objects.filter(role="owner", is_active=True).count() == 1
