"""The table of rights, cell by cell: a change of it is a change of this page."""

import pytest

from apps.organizations import rights
from apps.organizations.models import User
from apps.organizations.rights import Level, Right, Role

# "+" full, "~" limited, "-" none; in the order owner, admin, billing, support, viewer.
TABLE = {
    "view": "+++++",
    "export": "++++-",
    "customers.write": "++-~-",
    "state.write": "++-+-",
    "keys.write": "++-+-",
    "jobs.write": "++-+-",
    "credits.write": "+++~-",
    "cards.write": "+++--",
    "prices.write": "+++--",
    "limits.write": "++-~-",
    "catalog.write": "++---",
    "credentials.write": "++---",
    "content.view": "++-+-",
    "system.run": "++~--",
    "operators.write": "+~---",
    "settings.write": "+~---",
}
CELLS = [(right, role, mark) for right, marks in TABLE.items() for role, mark in zip(Role, marks, strict=True)]


def test_table_names_every_right():
    assert list(TABLE) == list(Right)
    assert set(rights.MEANING) == set(rights.FULL) == set(Right)


@pytest.mark.parametrize(("right", "role", "mark"), CELLS, ids=lambda cell: str(cell))
def test_cell(right: str, role: Role, mark: str):
    held = rights.level(role, Right(right))
    assert held is {"+": Level.FULL, "~": Level.LIMITED, "-": Level.NONE}[mark]
    operator = User(email="x@example.com", role=role.value)
    assert operator.holds(Right(right)) is (mark == "+")
    assert operator.holds(Right(right), within=True) is (mark in "+~")
    operator.is_active = False
    assert not operator.holds(Right(right), within=True)


@pytest.mark.parametrize("right", list(Right))
def test_who_is_no_operator_holds_nothing(right: Right):
    assert rights.level("", right) is Level.NONE
    with pytest.raises(rights.RightMissing):
        rights.require("", right, within=True)


def test_refusal_names_the_role_and_who_can():
    with pytest.raises(rights.RightMissing) as refused:
        rights.require("viewer", Right.STATE_WRITE, doing="suspend teams")
    assert refused.value.message == "Your role (viewer) cannot suspend teams. Owners, admins and support can."


def test_refusal_beyond_a_limit_names_the_limit():
    with pytest.raises(rights.RightMissing) as refused:
        rights.require("support", Right.LIMITS_WRITE)
    assert "beyond your limit (temporary raises of up to 7 days)" in refused.value.message


@pytest.mark.parametrize(
    ("permission", "right"),
    [
        ("teams.view_team", Right.VIEW),
        ("teams.change_team", Right.CUSTOMERS_WRITE),
        ("organizations.change_user", Right.OPERATORS_WRITE),
        ("credits.add_grant", Right.CREDITS_WRITE),
        ("credits.add_ratecard", Right.CARDS_WRITE),
        ("catalog.add_price", Right.PRICES_WRITE),
        ("jobs.view_callpayload", Right.CONTENT_VIEW),
        ("elsewhere.change_thing", None),
    ],
)
def test_djangos_permissions_follow_the_table(permission: str, right: Right | None):
    assert rights.of_permission(permission) is right
