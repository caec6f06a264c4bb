"""The exact texts that clients and scripts match on, and which refusal comes first."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.core.actors import SYSTEM
from apps.organizations import services as organizations
from apps.teams import services as teams
from apps.virtual_keys import services as virtual_keys
from apps.virtual_keys.models import VirtualKey
from tests import make
from tests.api.calling import Caller, ask, opened_job

UNKNOWN_JOB = str(uuid.UUID(int=7))
NO_OPERATOR = "Authentication required. Provide either 'Authorization: Bearer <token>' or 'X-Admin-Key: <master_key>'"


def refusal(answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["detail"]


# --- 401 ---------------------------------------------------------------------------------------------------


def test_missing_header_has_its_text(nobody):
    answer = nobody.post("/api/jobs/create", {})

    assert refusal(answer) == (401, "Missing Authorization header. Expected: 'Authorization: Bearer sk-xxx...'")
    assert answer["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["Bearer", "Bearer a b", "Token sk-x", "sk-x", "Basic c2s6eA=="])
def test_header_of_another_form_has_its_text(db, header):
    answer = Caller({"Authorization": header}).post("/api/jobs/create", {})

    assert refusal(answer) == (
        401,
        "Invalid Authorization header format. Expected: 'Authorization: Bearer sk-xxx...'",
    )


@pytest.mark.parametrize("secret", ["sk-nope", "sk-" + "0" * 33, "x" * 5000])
def test_malformed_key_is_invalid(db, secret):
    answer = Caller({"Authorization": f"Bearer {secret}"}).get("/api/teams/verify")

    assert refusal(answer) == (401, "Invalid API key")


def test_unknown_key_is_invalid(acme, team_key):
    VirtualKey.objects.update(digest="0" * 64)
    virtual_keys.forget_cached()

    assert refusal(team_key.get("/api/teams/verify")) == (401, "Invalid API key")


def test_revoked_key_is_invalid(acme, team_key):
    virtual_keys.revoke(VirtualKey.objects.get(), actor=SYSTEM)

    assert refusal(team_key.get("/api/teams/verify")) == (401, "Invalid API key")


def test_expired_key_is_invalid(acme, team_key):
    VirtualKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    virtual_keys.forget_cached()

    assert refusal(team_key.get("/api/teams/verify")) == (401, "Invalid API key")


def test_scheme_is_case_insensitive(acme):
    answer = Caller({"Authorization": f"bEARER {acme.secret}"}).get("/api/teams/verify")

    assert answer.status_code == 200


OPERATORS_ONLY = [
    ("post", "/api/organizations/create"),
    ("get", "/api/organizations"),
    ("get", "/api/organizations/acme/teams"),
    ("put", "/api/organizations/acme/status"),
    ("post", "/api/organizations/acme/suspend"),
    ("post", "/api/organizations/acme/resume"),
    ("post", "/api/teams/create"),
    ("get", "/api/teams"),
    ("put", "/api/teams/acme"),
    ("put", "/api/teams/acme/access-groups"),
    ("put", "/api/teams/acme/model-groups"),
    ("patch", "/api/teams/acme/markup"),
    ("post", "/api/teams/acme/suspend"),
    ("post", "/api/teams/acme/resume"),
    ("post", "/api/teams/acme/pause"),
    ("get", "/api/teams/acme/keys"),
    ("post", "/api/teams/acme/keys"),
    ("delete", f"/api/teams/acme/keys/{UNKNOWN_JOB}"),
    ("post", f"/api/teams/acme/keys/{UNKNOWN_JOB}/rotate"),
    ("get", "/api/models"),
    ("post", "/api/models/create"),
    ("get", "/api/models/x"),
    ("put", "/api/models/x"),
    ("delete", "/api/models/x"),
    ("get", "/api/model-aliases"),
    ("post", "/api/model-aliases/create"),
    ("get", "/api/model-aliases/x"),
    ("put", "/api/model-aliases/x"),
    ("delete", "/api/model-aliases/x"),
    ("get", "/api/model-access-groups"),
    ("post", "/api/model-access-groups/create"),
    ("get", "/api/model-access-groups/x"),
    ("put", "/api/model-access-groups/x"),
    ("delete", "/api/model-access-groups/x"),
    ("put", "/api/model-access-groups/x/models"),
    ("post", "/api/model-access-groups/x/add-models"),
    ("post", "/api/model-access-groups/x/remove-models"),
    ("get", "/api/model-groups"),
    ("post", "/api/model-groups/create"),
    ("get", "/api/model-groups/x"),
    ("put", "/api/model-groups/x"),
    ("delete", "/api/model-groups/x"),
    ("put", "/api/model-groups/x/models"),
    ("get", "/api/prices"),
    ("post", "/api/prices"),
    ("get", "/api/pricing"),
    ("get", "/api/rate-cards"),
    ("post", "/api/rate-cards"),
    ("get", "/api/rate-cards/effective"),
    ("get", "/api/rate-cards/1"),
    ("post", "/api/rate-cards/1/versions"),
    ("get", "/api/rate-cards/1/versions/1"),
    ("patch", "/api/rate-cards/1/versions/1"),
    ("delete", "/api/rate-cards/1/versions/1"),
    ("post", "/api/rate-cards/1/versions/1/activate"),
    ("post", "/api/credits/teams/acme/add"),
    ("patch", "/api/credits/teams/acme/budget-mode"),
    ("get", "/api/credits/teams/acme/conversion-rates"),
    ("patch", "/api/credits/teams/acme/conversion-rates"),
]


@pytest.mark.parametrize(("verb", "path"), OPERATORS_ONLY)
def test_a_teams_own_key_is_no_operator(acme, team_key, operator_headers, verb, path):
    assert refusal(getattr(team_key, verb)(path)) == (401, NO_OPERATOR)


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-Admin-Key": "wrong"}, {"X-Admin-Key": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": "x"}],
)
def test_missing_or_wrong_master_key_has_its_text(db, operator_headers, headers):
    assert refusal(Caller(headers).get("/api/teams")) == (401, NO_OPERATOR)


def test_master_key_is_taken_from_either_header(db, operator_headers):
    master_key = operator_headers["X-Admin-Key"]

    assert Caller({"X-Admin-Key": master_key}).get("/api/teams").status_code == 200
    assert Caller({"Authorization": f"Bearer {master_key}"}).get("/api/teams").status_code == 200


def test_wrong_admin_key_is_not_saved_by_a_right_bearer(db, operator_headers):
    both = {"X-Admin-Key": "wrong", "Authorization": f"Bearer {operator_headers['X-Admin-Key']}"}

    assert Caller(both).get("/api/teams").status_code == 401


def test_unset_master_key_admits_nobody(db, settings):
    settings.MASTER_KEY = ""

    assert Caller({"X-Admin-Key": ""}).get("/api/teams").status_code == 401


@pytest.mark.parametrize(("embedded", "status"), [(False, 401), (True, 200)])
def test_published_default_master_key_works_in_the_demo_alone(db, settings, embedded, status):
    settings.MASTER_KEY = "sk-admin-local-dev-change-in-production"
    settings.EMBEDDED = embedded

    assert Caller({"X-Admin-Key": settings.MASTER_KEY}).get("/api/teams").status_code == status


# --- 403 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["suspended", "paused"])
@pytest.mark.parametrize("path", ["create", "create-and-call", f"{UNKNOWN_JOB}/llm-call"])
def test_team_that_is_not_active_starts_nothing(acme, team_key, status, path):
    teams.set_status(acme.team, status=status, actor=SYSTEM)

    answer = team_key.post(f"/api/jobs/{path}", {})

    assert refusal(answer) == (403, f"Team access is {status}. Please contact support.")


def test_suspended_organization_blocks_its_teams(acme, team_key):
    organizations.set_status(acme.organization, status="suspended", actor=SYSTEM)

    answer = team_key.post("/api/jobs/create", {"team_id": "acme", "job_type": "query"})

    assert refusal(answer) == (403, "Team access is suspended. Please contact support.")


@pytest.mark.parametrize("path", ["create", "create-and-call"])
def test_body_team_of_another_key_has_its_text(acme, globex, team_key, path):
    body = {"team_id": "globex", "job_type": "query", "messages": [{"role": "user", "content": "Hello"}]}

    answer = team_key.post(f"/api/jobs/{path}", body)

    assert refusal(answer) == (403, "API key does not belong to team 'globex'")


@pytest.mark.parametrize(
    ("verb", "path", "text"),
    [
        ("get", "/api/teams/globex", "API key does not belong to team 'globex'"),
        ("get", "/api/teams/globex/usage?period=2026-01", "Cannot access usage data for a different team"),
        ("get", "/api/teams/globex/jobs", "Cannot access jobs for a different team"),
        ("get", "/api/credits/teams/globex/balance", "Cannot access credit balance for a different team"),
        ("get", "/api/credits/teams/globex/transactions", "Cannot access credit transactions for a different team"),
        ("post", "/api/credits/teams/globex/check", "Cannot check credits for a different team"),
    ],
)
def test_another_team_is_refused_like_one_that_does_not_exist(acme, globex, team_key, verb, path, text):
    send = getattr(team_key, verb)

    assert refusal(send(path)) == (403, text)
    assert refusal(send(path.replace("globex", "no-such-team"))) == (403, text.replace("globex", "no-such-team"))


def test_another_organization_is_refused(acme, globex, team_key):
    path = f"/api/organizations/{globex.organization.organization_id}"

    assert refusal(team_key.get(path)) == (403, "Cannot access a different organization")


def test_insufficient_credits_have_their_text(db, worker):
    make.platform_model()
    poor = Caller(make.customer(team_id="poor", credits=0).headers)

    answer = ask(poor, opened_job(poor, "poor"))

    assert refusal(answer) == (
        403,
        "Insufficient credits. Team has 0 credits remaining, but 1 required. Allocated: 0, Used: 0",
    )


def test_model_of_nobody_has_its_text(team_key, worker):
    answer = ask(team_key, opened_job(team_key), model="gpt-unknown")

    assert refusal(answer) == (403, "Team 'acme' does not have access to model group 'gpt-unknown'")


# --- 404 ---------------------------------------------------------------------------------------------------

JOB_REQUESTS = [
    ("get", "", None),
    ("get", "/costs", None),
    ("post", "/complete", {"status": "completed"}),
    ("post", "/llm-call", {"messages": [{"role": "user", "content": "Hello"}]}),
    ("patch", "/metadata", {"metadata": {"a": 1}}),
]


def _send(caller, verb, path, body):
    return caller.get(path) if verb == "get" else getattr(caller, verb)(path, body)


@pytest.mark.parametrize(("verb", "suffix", "body"), JOB_REQUESTS)
@pytest.mark.parametrize("job_id", [UNKNOWN_JOB, "no-uuid", "%20", "1" * 500])
def test_unknown_and_malformed_job_have_their_text(team_key, worker, verb, suffix, body, job_id):
    answer = _send(team_key, verb, f"/api/jobs/{job_id}{suffix}", body)

    assert refusal(answer) == (404, "Job not found")


@pytest.mark.parametrize(("verb", "suffix", "body"), JOB_REQUESTS)
def test_foreign_job_answers_like_an_unknown_one(team_key, stranger, worker, verb, suffix, body):
    job_id = opened_job(team_key)

    foreign = _send(stranger, verb, f"/api/jobs/{job_id}{suffix}", body)
    unknown = _send(stranger, verb, f"/api/jobs/{UNKNOWN_JOB}{suffix}", body)

    assert foreign.status_code == 404
    assert (foreign.status_code, foreign.content) == (unknown.status_code, unknown.content)


def test_foreign_call_answers_like_an_unknown_one(team_key, stranger, worker):
    job_id = opened_job(team_key)
    call_id = ask(team_key, job_id).json()["call_id"]

    foreign = stranger.get(f"/api/jobs/{job_id}/calls/{call_id}")
    unknown = stranger.get(f"/api/jobs/{UNKNOWN_JOB}/calls/{UNKNOWN_JOB}")

    assert foreign.status_code == 404
    assert (foreign.status_code, foreign.content) == (unknown.status_code, unknown.content)


@pytest.mark.parametrize(
    ("verb", "path", "body", "text"),
    [
        ("get", "/api/teams/nope", None, "Team 'nope' not found"),
        ("put", "/api/teams/nope", {}, "Team 'nope' not found"),
        ("put", "/api/teams/nope/access-groups", [], "Team 'nope' not found"),
        ("put", "/api/teams/nope/model-groups", [], "Team 'nope' not found"),
        ("patch", "/api/teams/nope/markup", {"cost_markup_percentage": 1}, "Team 'nope' not found"),
        ("post", "/api/teams/nope/suspend", None, "Team 'nope' not found"),
        ("get", "/api/teams/nope/keys", None, "Team 'nope' not found"),
        ("post", "/api/teams/nope/keys", {}, "Team 'nope' not found"),
        ("get", "/api/teams/nope/jobs", None, "Team 'nope' not found"),
        ("get", "/api/teams/nope/usage?period=2026-01", None, "Team 'nope' not found"),
        ("get", "/api/credits/teams/nope/balance", None, "Team 'nope' not found"),
        ("post", "/api/credits/teams/nope/add", {"credits": 1}, "Team 'nope' not found"),
        ("get", "/api/credits/teams/nope/transactions", None, "Team 'nope' not found"),
        ("post", "/api/credits/teams/nope/check", None, "Team 'nope' not found"),
        ("patch", "/api/credits/teams/nope/budget-mode", {"budget_mode": "job_based"}, "Team 'nope' not found"),
        ("get", "/api/credits/teams/nope/conversion-rates", None, "Team 'nope' not found"),
        ("patch", "/api/credits/teams/nope/conversion-rates", {}, "Team 'nope' not found"),
        ("get", "/api/organizations/nope", None, "Organization 'nope' not found"),
        ("get", "/api/organizations/nope/teams", None, "Organization 'nope' not found"),
        ("post", "/api/organizations/nope/suspend", None, "Organization 'nope' not found"),
        ("post", "/api/teams/create", {"organization_id": "nope", "team_id": "t"}, "Organization 'nope' not found"),
        ("get", "/api/jobs/nope", None, "Job not found"),
    ],
)
def test_operator_is_told_what_does_not_exist(operator, verb, path, body, text):
    assert refusal(_send(operator, verb, path, body)) == (404, text)


# --- 400 and 500 -------------------------------------------------------------------------------------------


def test_organization_id_is_taken_once(operator):
    body = {"organization_id": "initech", "name": "Initech", "create_default_team": False}
    assert operator.post("/api/organizations/create", body).status_code == 200

    answer = operator.post("/api/organizations/create", body)

    assert refusal(answer) == (400, "Organization with ID 'initech' already exists")


def test_team_id_is_taken_once(acme, operator):
    body = {"organization_id": acme.organization.organization_id, "team_id": "acme"}

    assert refusal(operator.post("/api/teams/create", body)) == (400, "Team 'acme' already exists")


def test_call_into_a_closed_job_is_refused(team_key, worker):
    job_id = opened_job(team_key)
    team_key.post(f"/api/jobs/{job_id}/complete", {"status": "failed"})

    assert refusal(ask(team_key, job_id)) == (400, "Job is already failed")


# --- Which comes first -------------------------------------------------------------------------------------


def test_unknown_key_is_refused_before_the_body_is_read(nobody):
    assert nobody.raw("/api/jobs/create", b"{not json").status_code == 401


def test_team_status_is_refused_before_the_body_is_read(acme, team_key):
    teams.set_status(acme.team, status="suspended", actor=SYSTEM)

    assert team_key.raw("/api/jobs/create", b"{not json").status_code == 403


def test_bad_body_is_refused_before_ownership(acme, globex, team_key):
    assert team_key.post("/api/jobs/create", {"team_id": "globex"}).status_code == 422


def test_bad_query_is_refused_before_ownership(acme, globex, team_key):
    assert team_key.get("/api/teams/globex/usage").status_code == 422
    assert team_key.get("/api/teams/globex/jobs?limit=x").status_code == 422
    assert team_key.get("/api/credits/teams/globex/transactions?limit=x").status_code == 422


def test_suspended_team_still_completes_and_reads(acme, team_key, worker):
    job_id = opened_job(team_key)
    ask(team_key, job_id)
    teams.set_status(acme.team, status="suspended", actor=SYSTEM)
    virtual_keys.forget_cached()

    assert team_key.post(f"/api/jobs/{job_id}/complete", {"status": "completed"}).status_code == 200
    assert team_key.get(f"/api/jobs/{job_id}").status_code == 200
    assert team_key.get("/api/credits/teams/acme/balance").status_code == 200
