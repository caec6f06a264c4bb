"""A team's virtual keys over HTTP, for operators."""

from datetime import UTC, datetime, timedelta

import pytest

from apps.core.models import AuditEntry
from apps.virtual_keys import services as virtual_keys
from apps.virtual_keys.models import VirtualKey
from tests import make
from tests.api.calling import Caller, located


def issued(operator, team_id="acme", **more):
    answer = operator.post(f"/api/teams/{team_id}/keys", more)
    assert answer.status_code == 200, answer.content
    return answer.json()


def with_key(secret):
    virtual_keys.forget_cached()
    return Caller({"Authorization": f"Bearer {secret}"})


def works(secret):
    return with_key(secret).get("/api/teams/verify").status_code == 200


# --- Issue and list ----------------------------------------------------------------------------------------


def test_issued_key_works_and_is_shown_once(acme, operator):
    key = issued(operator, name="ci", scopes=["jobs", "read"], models_allowed=["chat-default"])

    assert works(key["virtual_key"])
    assert (key["name"], key["scopes"], key["models_allowed"]) == ("ci", ["jobs", "read"], ["chat-default"])
    assert (key["status"], key["team_id"], key["replaced_by"]) == ("active", "acme", None)
    listed = operator.get("/api/teams/acme/keys")
    assert listed.json()[0]["key_id"] == key["key_id"]
    assert key["virtual_key"] not in listed.content.decode()
    assert "virtual_key" not in listed.json()[0]
    assert VirtualKey.objects.get(pk=key["key_id"]).digest not in listed.content.decode()


def test_secret_is_in_no_audit_row(acme, operator):
    key = issued(operator)

    entry = AuditEntry.objects.filter(action="key.issue").first()

    assert entry.object_id == key["key_id"]
    assert key["virtual_key"] not in f"{entry.before} {entry.after} {entry.reason}"


def test_key_with_scopes_and_addresses_is_held_to_them(acme, operator):
    reader = with_key(issued(operator, scopes=["read"])["virtual_key"])
    elsewhere = with_key(issued(operator, addresses_allowed=["203.0.113.0/24"])["virtual_key"])

    assert reader.get("/api/credits/teams/acme/balance").status_code == 200
    refused = reader.post("/api/jobs/create", {"team_id": "acme", "job_type": "q"})
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    assert elsewhere.get("/api/teams/verify").json()["code"] == "address_not_allowed"


def test_key_expires(acme, operator):
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    key = issued(operator, expires_at=soon)
    assert works(key["virtual_key"])
    assert key["expires_at"].endswith("Z")

    VirtualKey.objects.filter(pk=key["key_id"]).update(expires_at=datetime.now(UTC) - timedelta(seconds=1))

    assert not works(key["virtual_key"])
    assert operator.get("/api/teams/acme/keys").json()[0]["status"] == "expired"


def test_expiry_with_an_offset_is_kept_in_utc(acme, operator):
    assert issued(operator, expires_at="2099-01-01T00:00:00+02:00")["expires_at"] == "2098-12-31T22:00:00.000Z"


def test_keys_are_listed_newest_first_in_pages(acme, globex, operator):
    second, third = issued(operator), issued(operator)

    listed = [each["key_id"] for each in operator.get("/api/teams/acme/keys").json()]

    assert len(listed) == 3
    assert listed[:2] == [third["key_id"], second["key_id"]]
    assert [each["key_id"] for each in operator.get("/api/teams/acme/keys?limit=1&offset=1").json()] == [listed[1]]


def test_list_takes_a_constant_number_of_queries(acme, operator, django_assert_num_queries):
    for _ in range(2):
        with django_assert_num_queries(3):
            operator.get("/api/teams/acme/keys")
        for _ in range(4):
            issued(operator)


# --- Rotate ------------------------------------------------------------------------------------------------


def test_rotation_ends_the_old_key_at_once(acme, operator):
    old = issued(operator, name="ci", scopes=["read"])

    new = operator.post(f"/api/teams/acme/keys/{old['key_id']}/rotate").json()

    assert works(new["virtual_key"])
    assert not works(old["virtual_key"])
    assert (new["name"], new["scopes"], new["replaces"]) == ("ci", ["read"], old["key_id"])
    rows = {each["key_id"]: each for each in operator.get("/api/teams/acme/keys").json()}
    assert (rows[old["key_id"]]["status"], rows[old["key_id"]]["replaced_by"]) == ("expired", new["key_id"])


def test_rotation_with_an_overlap_keeps_both(acme, operator):
    old = issued(operator)

    new = operator.post(f"/api/teams/acme/keys/{old['key_id']}/rotate", {"overlap_seconds": 3600}).json()

    assert works(new["virtual_key"])
    assert works(old["virtual_key"])
    ends = datetime.fromisoformat(new["old_key_expires_at"])
    assert timedelta(seconds=3590) < ends - datetime.now(UTC) < timedelta(seconds=3610)
    assert new["expires_at"] is None


def test_overlap_does_not_outlive_the_old_keys_expiry(acme, operator):
    soon = datetime.now(UTC) + timedelta(minutes=5)
    old = issued(operator, expires_at=soon.isoformat())

    new = operator.post(f"/api/teams/acme/keys/{old['key_id']}/rotate", {"overlap_seconds": 3600}).json()

    assert datetime.fromisoformat(new["old_key_expires_at"]) <= soon


@pytest.mark.parametrize("overlap", [-1, 2_592_001, "60", 1.5, None, True])
def test_overlap_out_of_range_is_refused(acme, operator, overlap):
    old = issued(operator)

    answer = operator.post(f"/api/teams/acme/keys/{old['key_id']}/rotate", {"overlap_seconds": overlap})

    assert located(answer) == [["body", "overlap_seconds"]]
    assert works(old["virtual_key"])


def test_key_is_rotated_once(acme, operator):
    old = issued(operator)
    path = f"/api/teams/acme/keys/{old['key_id']}/rotate"
    operator.post(path, {"overlap_seconds": 60})

    answer = operator.post(path)

    assert (answer.status_code, answer.json()["code"]) == (400, "key_not_usable")
    assert answer.json()["detail"] == "This key is already rotated. Issue a new key instead."


# --- Revoke ------------------------------------------------------------------------------------------------


def test_revoked_key_is_refused_at_once(acme, operator):
    key = issued(operator)
    caller = with_key(key["virtual_key"])
    assert caller.get("/api/teams/verify").status_code == 200

    answer = operator.delete(f"/api/teams/acme/keys/{key['key_id']}").json()

    assert (answer["key_id"], answer["status"]) == (key["key_id"], "revoked")
    assert answer["revoked_at"].endswith("Z")
    assert caller.get("/api/teams/verify").status_code == 401


def test_revoking_twice_changes_nothing(acme, operator):
    key = issued(operator)
    path = f"/api/teams/acme/keys/{key['key_id']}"

    first, second = operator.delete(path).json(), operator.delete(path).json()

    assert first == second
    assert AuditEntry.objects.filter(action="key.revoke").count() == 1


@pytest.mark.parametrize("key_id", ["no-uuid", "00000000-0000-0000-0000-000000000007"])
@pytest.mark.parametrize(("verb", "suffix"), [("delete", ""), ("post", "/rotate")])
def test_unknown_key_has_its_text(acme, operator, key_id, verb, suffix):
    answer = getattr(operator, verb)(f"/api/teams/acme/keys/{key_id}{suffix}")

    assert (answer.status_code, answer.json()["detail"]) == (404, f"Team 'acme' has no key '{key_id}'")


@pytest.mark.parametrize(("verb", "suffix"), [("delete", ""), ("post", "/rotate")])
def test_another_teams_key_is_unknown_here(acme, globex, operator, verb, suffix):
    foreign = VirtualKey.objects.get(team=globex.team)

    answer = getattr(operator, verb)(f"/api/teams/acme/keys/{foreign.pk}{suffix}")

    assert answer.status_code == 404
    assert works(globex.secret)


def test_team_can_have_no_key_left(acme, operator):
    for key in operator.get("/api/teams/acme/keys").json():
        operator.delete(f"/api/teams/acme/keys/{key['key_id']}")

    assert not works(acme.secret)
    assert operator.get("/api/teams/acme").json()["virtual_key_prefix"] is None
    assert works(issued(operator)["virtual_key"])


def test_keys_of_one_team_say_nothing_of_another(acme, globex, operator):
    make.customer(team_id="other")

    assert {each["team_id"] for each in operator.get("/api/teams/globex/keys").json()} == {"globex"}
    assert len(operator.get("/api/teams/globex/keys").json()) == 1
