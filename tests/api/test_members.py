"""Members of an organization over HTTP."""

import pytest

from apps.organizations.models import Membership
from tests import make
from tests.api.calling import Caller, located

PATH = "/api/organizations/org/members"


@pytest.fixture(autouse=True)
def _organizations(db: None) -> None:
    make.organization("org")
    make.organization("other")


def test_a_member_is_invited_changed_and_removed(operator: Caller):
    body = {"email": "Ana@example.com", "role": "viewer", "display_name": "Ana"}
    made = operator.post(PATH, body, key="k").json()
    assert operator.post(PATH, body, key="k").json() == made
    assert (made["email"], made["role"], made["display_name"]) == ("ana@example.com", "viewer", "Ana")
    path = f"{PATH}/{made['user_id']}"

    assert operator.get(PATH).json() == [made]
    assert operator.get(path).json() == made
    assert operator.patch(path, {"role": "billing"}).json()["role"] == "billing"
    assert operator.get(f"/api/organizations/other/members/{made['user_id']}").status_code == 404
    assert operator.delete(path).status_code == 200
    assert operator.delete(path).json()["code"] == "member_not_found"
    assert not Membership.objects.exists()


def test_bad_members_name_the_field(operator: Caller):
    assert located(operator.post(PATH, {"email": "x", "role": "viewer"})) == [["body", "email"]]
    assert located(operator.post(PATH, {"email": "x@example.com", "role": "king"})) == [["body", "role"]]
    assert (
        operator.post("/api/organizations/none/members", {"email": "x@example.com", "role": "viewer"}).json()["code"]
        == "organization_not_found"
    )


def test_nobody_is_invited_twice(operator: Caller):
    body = {"email": "ana@example.com", "role": "viewer"}
    assert operator.post(PATH, body).status_code == 200
    again = operator.post(PATH, body)
    assert (again.status_code, again.json()["code"]) == (409, "member_exists")
