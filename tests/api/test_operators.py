"""Operators, their tokens and who one is, over HTTP."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.models import AuditEntry, IdempotencyKey
from apps.organizations.models import OperatorToken, User
from tests import make
from tests.api.calling import Caller, located


@pytest.fixture
def owner(db: None) -> Caller:
    return Caller(make.operator("owner").headers)


@pytest.mark.parametrize("header", ["Authorization", "X-Admin-Key"])
def test_a_token_is_taken_in_either_header(db: None, header: str):
    secret = make.operator("viewer").secret
    value = f"Bearer {secret}" if header == "Authorization" else secret
    assert Caller({header: value}).get("/api/teams").status_code == 200


def test_a_token_costs_one_query_once_it_was_used(owner: Caller):
    owner.get("/api/me")
    with CaptureQueriesContext(connection) as queries:
        assert owner.get("/api/me").status_code == 200
    assert len(queries) == 1


@pytest.mark.parametrize("path", ["/api/teams", "/api/credits/teams/acme/balance"])
def test_a_bad_token_is_401_with_its_own_code(acme: make.Customer, path: str):
    answer = Caller({"Authorization": "Bearer op-nonsense"}).get(path)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_operator_token")
    assert answer["WWW-Authenticate"] == "Bearer"


def test_a_token_opens_nothing_that_is_for_keys(owner: Caller):
    assert owner.post("/api/jobs/create", {"team_id": "acme", "job_type": "x"}).status_code == 401
    assert Caller(owner.headers).get("/v1/models").status_code == 401


def test_the_master_key_can_be_switched_off(operator: Caller, settings: Any, owner: Caller):
    assert operator.get("/api/teams").status_code == 200
    settings.MASTER_KEY_OFF = True

    assert operator.get("/api/teams").status_code == 401
    bearer = Caller({"Authorization": f"Bearer {settings.MASTER_KEY}"})
    assert bearer.get("/api/teams").status_code == 401
    assert bearer.get("/api/decisions").status_code == 401
    assert owner.get("/api/teams").status_code == 200


def test_who_am_i(operator: Caller):
    staff = make.operator("support", scopes=["view", "credits.write"])
    me = Caller(staff.headers).get("/api/me").json()
    assert (me["kind"], me["role"], me["scopes"]) == ("operator_token", "support", ["view", "credits.write"])
    assert me["rights"] == {"view": "full", "credits.write": "limited"}
    assert (me["operator"]["email"], me["token_prefix"]) == ("support@example.com", staff.token.prefix)

    master = operator.get("/api/me").json()
    assert (master["kind"], master["operator"], master["role"]) == ("master_key", None, "owner")
    assert master["rights"]["operators.write"] == "full"


def test_an_operator_is_named_changed_and_deactivated(owner: Caller):
    made = owner.post("/api/operators", {"email": "Bo@example.com", "role": "billing", "time_zone": "Europe/Berlin"})
    assert made.status_code == 200, made.content
    user_id = made.json()["user_id"]
    secret = owner.post(f"/api/operators/{user_id}/tokens", {"name": "books"}).json()["token"]
    bo = Caller({"Authorization": f"Bearer {secret}"})
    assert bo.get("/api/me").json()["role"] == "billing"

    assert owner.patch(f"/api/operators/{user_id}", {"role": "viewer"}).json()["role"] == "viewer"
    assert bo.get("/api/me").json()["role"] == "viewer"
    assert owner.patch(f"/api/operators/{user_id}", {"is_active": False}).json()["is_active"] is False
    assert bo.get("/api/me").status_code == 401

    assert [each["email"] for each in owner.get("/api/operators").json()] == ["bo@example.com", "owner@example.com"]
    assert owner.get(f"/api/operators/{user_id}").json()["time_zone"] == "Europe/Berlin"
    actors = set(AuditEntry.objects.filter(object_id=user_id).values_list("actor", "via"))
    assert actors == {("operator:owner@example.com", OperatorToken.objects.get(name="tests").prefix)}


def test_the_last_owner_and_ones_own_role(owner: Caller, operator: Caller):
    user_id = owner.get("/api/me").json()["operator"]["user_id"]

    last = operator.patch(f"/api/operators/{user_id}", {"is_active": False})
    assert (last.status_code, last.json()["detail"]) == (409, "Name another owner first.")
    own = owner.patch(f"/api/operators/{user_id}", {"role": "admin"})
    assert (own.status_code, own.json()["code"]) == (409, "own_role")


def test_an_admin_touches_neither_owners_nor_admins(owner: Caller):
    admin = Caller(make.operator("admin").headers)
    user_id = str(User.objects.get(role="owner").public_id)
    for answer in (
        admin.post("/api/operators", {"email": "x@example.com", "role": "admin"}),
        admin.patch(f"/api/operators/{user_id}", {"role": "viewer"}),
        admin.post(f"/api/operators/{user_id}/tokens", {"name": "x"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "right_missing")
        assert "beyond your limit (neither owners nor admins)" in answer.json()["detail"]
    assert AuditEntry.objects.filter(action="refused").count() == 3
    assert admin.post("/api/operators", {"email": "x@example.com", "role": "support"}).status_code == 200


def test_a_token_is_shown_once_and_again_to_a_repeat(owner: Caller):
    user_id = owner.get("/api/me").json()["operator"]["user_id"]
    body = {"name": "deploy", "scopes": ["view"]}

    first = owner.post(f"/api/operators/{user_id}/tokens", body, key="k")
    again = owner.post(f"/api/operators/{user_id}/tokens", body, key="k")

    assert first.json() == again.json()
    assert first.json()["token"].startswith(first.json()["prefix"])
    assert again["Idempotency-Replayed"] == "true"
    listed = owner.get(f"/api/operators/{user_id}/tokens").json()
    assert [(each["name"], each["status"]) for each in listed] == [("deploy", "active"), ("tests", "active")]
    page = owner.get(f"/api/operators/{user_id}/tokens", limit="1", order="-name")
    assert [each["name"] for each in page.json()] == ["tests"]
    assert (page["X-Total-Count"], "next" in page["Link"]) == ("2", True)
    assert first.json()["token"] not in str(listed)


def test_a_token_is_revoked_by_its_id(owner: Caller):
    viewer = make.operator("viewer")
    path = f"/api/operators/{viewer.user.public_id}/tokens/{viewer.token.pk}"

    assert owner.delete(path).json()["status"] == "revoked"
    assert owner.delete(path).status_code == 200
    assert Caller(viewer.headers).get("/api/me").status_code == 401
    assert owner.delete(f"/api/operators/{viewer.user.public_id}/tokens/x").status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "x", "role": "viewer"}, "email"),
        ({"email": "x@example.com", "role": "king"}, "role"),
        ({"role": "viewer"}, "email"),
    ],
)
def test_bad_operators_name_the_field(owner: Caller, body: dict[str, str], field: str):
    assert located(owner.post("/api/operators", body)) == [["body", field]]


def test_operators_have_idempotency_keys_of_their_own(operator: Caller, owner: Caller, acme: make.Customer):
    other = Caller(make.operator("owner", email="second@example.com").headers)
    path, body = "/api/credits/teams/acme/add", {"credits": 5, "kind": "goodwill"}
    for caller in (operator, owner, other):
        answer = caller.post(path, body, key="same")
        assert answer.status_code == 200, answer.content
        assert caller.post(path, body, key="same").json() == answer.json()

    users = User.objects.filter(role="owner").values_list("public_id", flat=True)
    scopes = set(IdempotencyKey.objects.values_list("scope", flat=True))
    assert scopes == {"operator", *(f"operator:{user}" for user in users)}


def test_two_tokens_of_one_operator_share_their_keys(owner: Caller, acme: make.Customer):
    second = Caller(make.operator("owner").headers)
    path = "/api/credits/teams/acme/add"

    first = owner.post(path, {"credits": 5}, key="same").json()

    assert second.post(path, {"credits": 5}, key="same").json() == first
