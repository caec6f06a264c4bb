"""Bodies that are wrong are refused with a 422 (or 413) that says where, and nothing is written."""

import pytest

from apps.catalog.models import AccessGroup, ModelAlias, ModelGroup, Price
from apps.core.models import AuditEntry
from apps.credits.models import Entry
from apps.jobs.models import Job
from apps.organizations.models import Organization
from apps.teams.models import Team
from apps.virtual_keys.models import VirtualKey
from tests import make
from tests.api.calling import located

BY_OPERATOR = [
    "/api/organizations/create",
    "/api/teams/create",
    "/api/teams/acme/keys",
    "/api/teams/acme/suspend",
    "/api/credits/teams/acme/add",
    "/api/models/create",
    "/api/model-access-groups/create",
    "/api/model-groups/create",
    "/api/prices",
]
BY_KEY = ["/api/jobs/create", "/api/jobs/create-and-call"]


@pytest.fixture
def nothing_written(db):
    """Compares what there is before and after."""
    models = (Organization, Team, VirtualKey, Entry, Job, AuditEntry, ModelAlias, AccessGroup, ModelGroup, Price)

    def counts():
        return {model.__name__: model.objects.count() for model in models}

    return counts


def _caller(path, operator, team_key):
    return team_key if path in BY_KEY else operator


@pytest.mark.parametrize("path", BY_OPERATOR + BY_KEY)
@pytest.mark.parametrize(
    ("body", "loc"),
    [
        (b"{", ["body", 1]),
        (b"not json", ["body", 0]),
        (b"[]", ["body"]),
        (b'"text"', ["body"]),
        (b"null", ["body"]),
        (b'{"a": NaN}', ["body", 6]),
        (b'{"metadata": {"a": 1e999}}', None),
        (b'{"name": "a\\u0000b"}', ["body"]),
        (b'{"a\\u0000b": 1}', ["body"]),
        (b'{"name": "\\ud800"}', None),
        (b'{"name": "\xff"}', None),
        (b'{"metadata": ' + b"[" * 100 + b"]" * 100 + b"}", ["body"]),
        (b"[" * 100_000, None),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, None),
    ],
)
def test_body_that_is_no_object_of_ours(operator, team_key, nothing_written, path, body, loc):
    before = nothing_written()

    answer = _caller(path, operator, team_key).raw(path, body)

    assert loc is None or located(answer) == [loc]
    assert located(answer)[0][0] == "body"
    assert nothing_written() == before


@pytest.mark.parametrize("path", BY_OPERATOR + BY_KEY)
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_body_of_another_content_type(operator, team_key, nothing_written, path, content_type):
    before = nothing_written()

    answer = _caller(path, operator, team_key).raw(path, b'{"credits": 1}', content_type=content_type)

    assert located(answer) == [["body"]]
    assert answer.json()["detail"][0]["type"] == "content_type"
    assert nothing_written() == before


def test_json_content_types_are_all_taken(operator):
    for number, content_type in enumerate(
        ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"]
    ):
        body = b'{"organization_id": "o-%d", "name": "O"}' % number
        answer = operator.raw("/api/organizations/create", body, content_type=content_type)
        assert answer.status_code == 200


@pytest.mark.parametrize("path", BY_OPERATOR + BY_KEY)
def test_body_above_the_limit_is_a_413(operator, team_key, settings, nothing_written, path):
    before = nothing_written()
    body = b'{"name": "' + b"x" * settings.MAX_BODY_BYTES + b'"}'

    answer = _caller(path, operator, team_key).raw(path, body)

    assert (answer.status_code, answer.json()["detail"]) == (413, "The request body may have 20000000 bytes.")
    assert nothing_written() == before


def test_body_limit_is_a_setting(operator, settings):
    settings.MAX_BODY_BYTES = 50

    assert operator.raw("/api/organizations/create", b" " * 51).status_code == 413
    assert operator.raw("/api/organizations/create", b" " * 50).status_code == 422


@pytest.mark.parametrize(
    ("path", "body", "loc"),
    [
        ("/api/organizations/create", {}, [["body", "organization_id"], ["body", "name"]]),
        ("/api/organizations/create", {"organization_id": 1, "name": "O"}, [["body", "organization_id"]]),
        ("/api/organizations/create", {"organization_id": "", "name": "O"}, [["body", "organization_id"]]),
        ("/api/organizations/create", {"organization_id": "a b", "name": "O"}, [["body", "organization_id"]]),
        ("/api/organizations/create", {"organization_id": "a/b", "name": "O"}, [["body", "organization_id"]]),
        ("/api/organizations/create", {"organization_id": "Create", "name": "O"}, [["body", "organization_id"]]),
        ("/api/organizations/create", {"organization_id": "x" * 256, "name": "O"}, [["body", "organization_id"]]),
        ("/api/organizations/create", {"organization_id": "o", "name": "x" * 256}, [["body", "name"]]),
        ("/api/organizations/create", {"organization_id": "o", "name": "O", "metadata": []}, [["body", "metadata"]]),
        (
            "/api/organizations/create",
            {"organization_id": "o", "name": "O", "metadata": {"a": "x" * 10_240}},
            [["body", "metadata"]],
        ),
        (
            "/api/organizations/create",
            {"organization_id": "o", "name": "O", "create_default_team": "no"},
            [["body", "create_default_team"]],
        ),
        (
            "/api/organizations/create",
            {"organization_id": "o", "name": "O", "default_team_credits": -1},
            [["body", "default_team_credits"]],
        ),
        ("/api/teams/create", {}, [["body", "organization_id"], ["body", "team_id"]]),
        ("/api/teams/create", {"organization_id": "existing", "team_id": "verify"}, [["body", "team_id"]]),
        ("/api/teams/create", {"organization_id": "existing", "team_id": "-a"}, [["body", "team_id"]]),
        ("/api/teams/create", {"organization_id": "existing", "team_id": "é"}, [["body", "team_id"]]),
        (
            "/api/teams/create",
            {"organization_id": "existing", "team_id": "t", "access_groups": "a"},
            [["body", "access_groups"]],
        ),
        (
            "/api/teams/create",
            {"organization_id": "existing", "team_id": "t", "model_groups": [1]},
            [["body", "model_groups", 0]],
        ),
        (
            "/api/teams/create",
            {"organization_id": "existing", "team_id": "t", "credits_allocated": 1.5},
            [["body", "credits_allocated"]],
        ),
        (
            "/api/teams/create",
            {"organization_id": "existing", "team_id": "t", "credits_per_dollar": "10"},
            [["body", "credits_per_dollar"]],
        ),
        (
            "/api/teams/create",
            {"organization_id": "existing", "team_id": "t", "tokens_per_credit": True},
            [["body", "tokens_per_credit"]],
        ),
        ("/api/teams/acme/keys", {"name": 1}, [["body", "name"]]),
        ("/api/teams/acme/keys", {"scopes": ["admin"]}, [["body", "scopes"]]),
        ("/api/teams/acme/keys", {"addresses_allowed": ["300.1.1.1"]}, [["body", "addresses_allowed"]]),
        ("/api/teams/acme/keys", {"expires_at": "tomorrow"}, [["body", "expires_at"]]),
        ("/api/teams/acme/keys", {"expires_at": "2020-01-01T00:00:00Z"}, [["body", "expires_at"]]),
        ("/api/teams/acme/keys", {"expires_at": "2099-01-01T00:00:00"}, [["body", "expires_at"]]),
        ("/api/teams/acme/keys", {"expires_at": "9999-12-31T23:59:59-23:00"}, [["body", "expires_at"]]),
        ("/api/teams/acme/suspend", {"reason": 1}, [["body", "reason"]]),
        ("/api/teams/acme/suspend", {"reason": "x" * 501}, [["body", "reason"]]),
    ],
)
def test_field_that_is_missing_or_wrong(acme, operator, nothing_written, path, body, loc):
    make.organization("existing")
    before = nothing_written()

    assert located(operator.post(path, body)) == loc
    assert nothing_written() == before


@pytest.mark.parametrize("credits", [0, -1, 1.5, 10.0, "10", None, True, [], 10**12 + 1, 2**63, 2**64, 1e30])
@pytest.mark.parametrize("field", ["credits", "credits_amount"])
def test_credits_that_are_no_positive_whole_number(acme, operator, nothing_written, field, credits):
    before = nothing_written()

    answer = operator.post("/api/credits/teams/acme/add", {field: credits})

    assert located(answer)[0][:2] in (["body", field], ["body", "credits"])
    assert nothing_written() == before


def test_missing_credits_name_the_field(acme, operator):
    assert located(operator.post("/api/credits/teams/acme/add", {"reason": "gift"})) == [["body", "credits"]]


def test_huge_wrong_value_is_not_echoed(operator):
    answer = operator.post("/api/organizations/create", {"organization_id": ["x" * 100_000], "name": "n" * 100_000})

    assert answer.status_code == 422
    assert len(answer.content) < 2000


def test_unknown_fields_are_ignored(team_key):
    answer = team_key.post("/api/jobs/create", {"team_id": "acme", "job_type": "q", "surprise": {"a": 1}})

    assert answer.status_code == 200


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x7fb"])
def test_idempotency_key_of_another_form_is_refused(team_key, key):
    answer = team_key.post("/api/jobs/create", {"team_id": "acme", "job_type": "q"}, **{"Idempotency-Key": key})

    assert located(answer) == [["body", "Idempotency-Key"]]
    assert Job.objects.count() == 0


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "limit=1.5", "offset=-1", "offset=x", "limit=٣"])
@pytest.mark.parametrize(
    "path",
    [
        "/api/teams",
        "/api/organizations",
        "/api/organizations/acme/teams",
        "/api/teams/acme/keys",
        "/api/models",
        "/api/model-aliases",
        "/api/model-access-groups",
        "/api/model-groups",
        "/api/teams/acme/jobs",
        "/api/credits/teams/acme/transactions",
    ],
)
def test_page_that_is_no_whole_number(acme, operator, path, query):
    assert located(operator.get(f"{path}?{query}")) == [["query", query.split("=")[0]]]
