"""A customer in one request: all of it or nothing, once."""

import pytest

from apps.credits import billing
from apps.organizations.models import Organization
from apps.teams.models import Team
from tests import make

BODY = {"organization_id": "initech", "organization_name": "Initech", "team_id": "initech-prod"}


@pytest.fixture(autouse=True)
def _model(db):
    make.platform_model()


def provision(client, headers, **more):
    return client.post("/api/provision", BODY | more, content_type="application/json", headers=headers)


def test_customer_can_call_at_once(client, operator_headers):
    made = provision(client, operator_headers, credits_allocated=50, key_scopes=["read", "jobs"])
    assert made.status_code == 200
    body = made.json()
    assert (body["organization"]["name"], body["team"]["credits_remaining"]) == ("Initech", 50)
    own = client.get("/api/teams/initech-prod", headers={"Authorization": f"Bearer {body['virtual_key']}"})
    assert own.status_code == 200


def test_organization_may_exist(client, operator_headers):
    make.organization("initech")
    made = provision(client, operator_headers, organization_name=None, issue_key=False)
    assert made.json()["key_id"] is None
    assert made.json()["virtual_key"] is None


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"organization_name": None}, 404),
        ({"default_model": "nothing"}, 404),
        ({"team_id": "has space"}, 422),
        ({"payment_id": "invoice-1"}, 422),
        ({"credits_kind": "gold"}, 422),
        ({"credits_allocated": -1}, 422),
        ({"time_zone": "Mars/Olympus"}, 422),
        ({"key_scopes": ["everything"]}, 422),
    ],
)
def test_what_is_wrong_makes_nothing(client, operator_headers, wrong, status):
    assert provision(client, operator_headers, **wrong).status_code == status
    assert not Organization.objects.filter(organization_id="initech").exists()
    assert not Team.objects.filter(team_id="initech-prod").exists()


def test_repeat_answers_the_same_customer(client, operator_headers):
    headers = operator_headers | {"Idempotency-Key": "once"}
    first, second = (provision(client, headers, credits_allocated=5) for _ in range(2))
    assert second.json() == first.json()
    assert second["Idempotency-Replayed"] == "true"
    assert billing.balance(Team.objects.get(team_id="initech-prod")).posted_micros == 5_000_000


def test_credits_and_keys_ask_for_their_own_rights(client):
    scoped = make.operator("admin", scopes=["customers.write"]).headers
    assert provision(client, scoped, credits_allocated=5).status_code == 403
    assert provision(client, scoped).status_code == 403
    assert provision(client, scoped, issue_key=False).status_code == 200
