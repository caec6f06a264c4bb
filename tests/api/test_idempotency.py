"""Idempotency-Key on every POST: the effect happens once, and a repeat gets the same ids."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

from apps.catalog.models import AccessGroup, AccessGroupMember, ModelAlias, ModelGroup, Price
from apps.core import clock
from apps.core.models import AuditEntry, IdempotencyKey
from apps.credits.models import Entry, Hold
from apps.jobs.models import Call, Job
from apps.organizations.models import Organization
from apps.teams.models import Team
from apps.virtual_keys import services as virtual_keys
from apps.virtual_keys.models import VirtualKey
from tests import make
from tests.api.calling import MESSAGES, Caller, ask, opened_job

CONFLICT = "This Idempotency-Key was used before with another request. Use a new key."
ROWS = (
    Organization,
    Team,
    VirtualKey,
    Entry,
    Hold,
    Job,
    Call,
    ModelAlias,
    AccessGroup,
    AccessGroupMember,
    ModelGroup,
    Price,
    AuditEntry,
    IdempotencyKey,
)

BY_OPERATOR = {
    "organization": ("/api/organizations/create", {"organization_id": "hooli", "name": "Hooli"}),
    "organization suspended": ("/api/organizations/{organization}/suspend", {"reason": "a"}),
    "organization resumed": ("/api/organizations/{organization}/resume", {"reason": "a"}),
    "team": (
        "/api/teams/create",
        {"organization_id": "{organization}", "team_id": "research", "credits_allocated": 5},
    ),
    "team suspended": ("/api/teams/acme/suspend", {"reason": "a"}),
    "team resumed": ("/api/teams/acme/resume", {"reason": "a"}),
    "team paused": ("/api/teams/acme/pause", {"reason": "a"}),
    "key": ("/api/teams/acme/keys", {"name": "a"}),
    "rotation": ("/api/teams/acme/keys/{key}/rotate", {"overlap_seconds": 60}),
    "credits": ("/api/credits/teams/acme/add", {"credits": 5}),
    "check": ("/api/credits/teams/acme/check", {"credits_required": 5}),
    "alias": (
        "/api/models/create",
        {"model_alias": "gpt", "display_name": "GPT", "provider": "openai", "actual_model": "gpt-9"},
    ),
    "alias by litellm model": ("/api/model-aliases/create", {"alias": "gpt", "litellm_model": "openai/gpt-9"}),
    "access group": ("/api/model-access-groups/create", {"group_name": "basic"}),
    "aliases added": ("/api/model-access-groups/existing/add-models", {"model_aliases": ["chat-default"]}),
    "aliases removed": ("/api/model-access-groups/existing/remove-models", {"model_aliases": ["chat-default"]}),
    "price": ("/api/prices", {"model": "openai/gpt-9", "input": 1, "output": "2"}),
    "model group": ("/api/model-groups/create", {"group_name": "agent", "models": [{"model_name": "gpt-9"}]}),
}
BY_KEY = {
    "job": ("/api/jobs/create", {"team_id": "acme", "job_type": "q"}),
    "call": ("/api/jobs/{job}/llm-call", {"messages": MESSAGES}),
    "job with call": ("/api/jobs/create-and-call", {"team_id": "acme", "job_type": "q", "messages": MESSAGES}),
    "completion": ("/api/jobs/{job}/complete", {"status": "completed"}),
    "check by key": ("/api/credits/teams/acme/check", {"credits_required": 5}),
}


@pytest.fixture(params=[*BY_OPERATOR, *BY_KEY])
def kind(request, acme, operator, team_key, worker):
    """A POST of each kind: who sends it, where to, and what."""
    path, body = (BY_OPERATOR | BY_KEY)[request.param]
    make.access_group("existing")
    names = {
        "organization": acme.organization.organization_id,
        "key": str(VirtualKey.objects.get().pk),
        "job": opened_job(team_key) if "{job}" in path else "",
    }
    body = {name: value.format(**names) if isinstance(value, str) else value for name, value in body.items()}
    return (operator if request.param in BY_OPERATOR else team_key), path.format(**names), body


def counts():
    return {model.__name__: model.objects.count() for model in ROWS}


# --- Every kind of POST ------------------------------------------------------------------------------------


def test_replay_gives_the_same_answer_and_does_nothing(kind):
    caller, path, body = kind

    first = caller.post(path, body, key="k-1")
    after_first = counts()
    again = caller.post(path, body, key="k-1")

    assert (first.status_code, again.status_code) == (200, 200), (first.content, again.content)
    assert again.json() == first.json()
    assert not first.has_header("Idempotency-Replayed")
    assert again["Idempotency-Replayed"] == "true"
    assert counts() == after_first


def test_known_key_with_another_body_is_refused(kind):
    caller, path, body = kind
    caller.post(path, body, key="k-1")
    after_first = counts()

    answer = caller.post(path, {**body, "surprise": 1}, key="k-1")

    assert (answer.status_code, answer.json()["detail"]) == (422, CONFLICT)
    assert answer.json()["code"] == "idempotency_conflict"
    after_first.pop("AuditEntry")
    assert {name: number for name, number in counts().items() if name in after_first} == after_first


def test_another_key_has_an_effect_of_its_own(acme, operator):
    for key in ("k-1", "k-2"):
        answer = operator.post("/api/credits/teams/acme/add", {"credits": 5}, key=key)
        assert not answer.has_header("Idempotency-Replayed")

    assert operator.get("/api/teams/acme").json()["credits_allocated"] == 110


def test_known_key_at_another_path_is_refused(acme, globex, operator):
    operator.post("/api/credits/teams/acme/add", {"credits": 5}, key="k-1")

    answer = operator.post("/api/credits/teams/globex/add", {"credits": 5}, key="k-1")

    assert (answer.status_code, answer.json()["detail"]) == (422, CONFLICT)
    assert operator.get("/api/teams/globex").json()["credits_allocated"] == 100


# --- Whose keys --------------------------------------------------------------------------------------------


def test_keys_of_two_teams_do_not_meet(team_key, stranger):
    ours = team_key.post("/api/jobs/create", {"team_id": "acme", "job_type": "q"}, key="same")
    theirs = stranger.post("/api/jobs/create", {"team_id": "globex", "job_type": "q"}, key="same")

    assert (ours.status_code, theirs.status_code) == (200, 200)
    assert not theirs.has_header("Idempotency-Replayed")
    assert ours.json()["job_id"] != theirs.json()["job_id"]


def test_keys_of_team_and_operator_do_not_meet(team_key, operator):
    path = "/api/credits/teams/acme/check"

    team_key.post(path, {}, key="same")

    assert not operator.post(path, {}, key="same").has_header("Idempotency-Replayed")


def test_two_virtual_keys_of_a_team_share_their_idempotency_keys(acme, operator, team_key):
    """A client that rotates its key between two tries must not do everything twice."""
    secret = operator.post("/api/teams/acme/keys", {}).json()["virtual_key"]
    body = {"team_id": "acme", "job_type": "q"}

    first = team_key.post("/api/jobs/create", body, key="same").json()
    again = Caller({"Authorization": f"Bearer {secret}"}).post("/api/jobs/create", body, key="same").json()

    assert first["job_id"] == again["job_id"]


# --- Secrets -----------------------------------------------------------------------------------------------

WITH_SECRET = [
    ("/api/teams/create", {"organization_id": "initech", "team_id": "research"}),
    ("/api/organizations/create", {"organization_id": "hooli", "name": "Hooli"}),
    ("/api/teams/acme/keys", {}),
]


def secret_of(answer):
    body = answer.json()
    return body["virtual_key"] if "virtual_key" in body else body["default_team"]["virtual_key"]


@pytest.mark.parametrize(("path", "body"), WITH_SECRET)
def test_secret_is_replayed_for_ten_minutes(acme, operator, monkeypatch, path, body):
    make.organization("initech")
    secret = secret_of(operator.post(path, body, key="k-1"))
    assert secret.startswith("sk-")
    created_at = IdempotencyKey.objects.get().created_at

    monkeypatch.setattr(clock, "now", lambda: created_at + timedelta(minutes=9, seconds=59))
    assert secret_of(operator.post(path, body, key="k-1")) == secret

    monkeypatch.setattr(clock, "now", lambda: created_at + timedelta(minutes=10, seconds=1))
    late = operator.post(path, body, key="k-1")
    assert (late.status_code, late["Idempotency-Replayed"]) == (200, "true")
    assert secret_of(late) is None


def test_secret_of_a_rotation_is_replayed_while_its_old_key_is_gone(acme, operator):
    path = f"/api/teams/acme/keys/{VirtualKey.objects.get().pk}/rotate"

    first, again = (operator.post(path, {}, key="k-1").json() for _ in range(2))

    assert first["virtual_key"] == again["virtual_key"]
    assert VirtualKey.objects.count() == 2


def test_secret_is_kept_encrypted(acme, operator):
    secret = operator.post("/api/teams/acme/keys", {}, key="k-1").json()["virtual_key"]

    row = IdempotencyKey.objects.get()

    assert row.secret
    assert secret not in row.secret
    assert secret not in str(row.result)


# --- What a refusal leaves ---------------------------------------------------------------------------------


def test_refused_request_may_be_sent_again_under_its_key(operator, db):
    make.organization("initech")
    body = {"organization_id": "initech", "team_id": "dev", "access_groups": ["chat-fast"]}
    assert operator.post("/api/teams/create", body, key="k-1").status_code == 404

    make.alias("chat-fast")
    answer = operator.post("/api/teams/create", body, key="k-1")

    assert answer.status_code == 200
    assert not answer.has_header("Idempotency-Replayed")


def test_organization_whose_team_failed_is_replayed_with_the_reason(operator, db):
    body = {"organization_id": "hooli", "name": "Hooli", "default_team_access_groups": ["chat-fast"]}
    first = operator.post("/api/organizations/create", body, key="k-1").json()
    make.alias("chat-fast")

    again = operator.post("/api/organizations/create", body, key="k-1").json()

    assert again["default_team"] == first["default_team"] == {"error": "Model access group 'chat-fast' not found"}
    assert not Team.objects.filter(organization__organization_id="hooli").exists()


def test_replayed_suspension_does_not_undo_a_later_resume(acme, operator):
    operator.post("/api/teams/acme/suspend", key="k-1")
    operator.post("/api/teams/acme/resume", key="k-2")

    answer = operator.post("/api/teams/acme/suspend", key="k-1")

    assert answer.json()["status"] == "suspended"
    assert Team.objects.get(team_id="acme").status == "active"


# --- Credits stay granted once, for ever -------------------------------------------------------------------


def test_grant_is_made_once_even_when_its_key_was_forgotten(acme, operator):
    first = operator.post("/api/credits/teams/acme/add", {"credits": 5}, key="invoice-17").json()
    IdempotencyKey.objects.all().delete()
    audited = AuditEntry.objects.count()

    again = operator.post("/api/credits/teams/acme/add", {"credits": 5}, key="invoice-17")

    assert again.json()["transaction"] == first["transaction"]
    assert again.json()["credits_remaining"] == 105
    assert AuditEntry.objects.count() == audited


def test_forgotten_key_with_another_amount_is_refused(acme, operator):
    operator.post("/api/credits/teams/acme/add", {"credits": 5}, key="invoice-17")
    IdempotencyKey.objects.all().delete()

    answer = operator.post("/api/credits/teams/acme/add", {"credits": 6}, key="invoice-17")

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_conflict")
    assert operator.get("/api/teams/acme").json()["credits_allocated"] == 105


def test_callers_key_does_not_meet_the_platforms_own(acme, operator):
    answer = operator.post("/api/credits/teams/acme/add", {"credits": 100}, key="initial")

    assert answer.json()["credits_remaining"] == 200


def test_longest_key_of_the_longest_team_fits_the_ledger(operator, db):
    team_id = "t" * 255
    make.customer(team_id=team_id, credits=0)
    path = f"/api/credits/teams/{team_id}/add"

    for end in ("a", "b", "a"):
        assert operator.post(path, {"credits": 1}, key="k" * 254 + end).status_code == 200

    assert operator.get(f"/api/teams/{team_id}").json()["credits_allocated"] == 2


# --- Calls -------------------------------------------------------------------------------------------------


def test_replayed_call_asks_no_model_again(team_key, worker):
    job_id = opened_job(team_key)
    path, body = f"/api/jobs/{job_id}/llm-call", {"messages": MESSAGES}

    first, again = (team_key.post(path, body, key="k-1").json() for _ in range(2))

    assert first["call_id"] == again["call_id"]
    assert Call.objects.get().claim == 1


def test_call_without_a_key_is_another_call(team_key, worker):
    job_id = opened_job(team_key)

    assert ask(team_key, job_id).json()["call_id"] != ask(team_key, job_id).json()["call_id"]


# --- At the same time --------------------------------------------------------------------------------------


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("round_number", range(3))
def test_twins_at_the_same_time_have_one_effect(operator_headers, round_number):
    make.customer(team_id="acme")
    operator = Caller(operator_headers)

    def add(_):
        try:
            return operator.post("/api/credits/teams/acme/add", {"credits": 5}, key="k-1")
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(add, range(16)))

    assert [answer.status_code for answer in answers] == [200] * 16
    assert len({answer.json()["transaction"]["transaction_id"] for answer in answers}) == 1
    assert sum(not answer.has_header("Idempotency-Replayed") for answer in answers) == 1
    assert operator.get("/api/teams/acme").json()["credits_allocated"] == 105


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_one_id_asked_for_at_the_same_time_is_given_once(operator_headers):
    make.organization("initech")
    operator = Caller(operator_headers)

    def create(_):
        try:
            body = {"organization_id": "initech", "team_id": "dev", "credits_allocated": 5}
            return operator.post("/api/teams/create", body).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(create, range(8)))

    assert statuses == [200] + [400] * 7
    assert virtual_keys.prefixes(list(Team.objects.all())).keys() == {Team.objects.get().pk}
    assert Entry.objects.count() == 1
