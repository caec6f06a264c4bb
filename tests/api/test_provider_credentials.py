"""Providers' credentials over HTTP: /api/provider-credentials. No answer has a key."""

import logging

import pytest

from apps.api.provider_credentials import CreateCredentialInput, UpdateCredentialInput
from apps.catalog.models import ProviderCredential
from apps.core import crypto
from apps.core.bodies import validate
from apps.core.models import AuditEntry, IdempotencyKey
from tests import make
from tests.api.calling import located

PATH = "/api/provider-credentials"
KEY = "sk-of-the-provider-0123456789"
FIELDS = {
    "credential_id",
    "organization_id",
    "provider",
    "credential_name",
    "api_base",
    "is_active",
    "created_at",
    "updated_at",
    "has_api_key",
}
UNKNOWN = "0192e4a0-0000-7000-8000-000000000000"


@pytest.fixture(autouse=True)
def _organizations(db: None) -> None:
    make.organization("acme-org")
    make.organization("globex-org")


def create(operator, *, key=None, **more):
    body = {"organization_id": "acme-org", "provider": "openai", "api_key": KEY, "credential_name": "main"} | more
    return operator.post(f"{PATH}/create", body, key=key)


def created(operator, **more) -> str:
    answer = create(operator, **more)
    assert answer.status_code == 200, answer.content
    return answer.json()["credential_id"]


def stored_key(credential_id: str) -> str | None:
    return crypto.decrypt(ProviderCredential.objects.get(pk=credential_id).encrypted_key)


# --- Create ------------------------------------------------------------------------------------------------


def test_created_credential_in_full(operator):
    body = create(operator, api_base="https://llm.example.com/v1/", created_by="ann").json()

    assert set(body) == FIELDS
    assert (body["organization_id"], body["provider"], body["credential_name"]) == ("acme-org", "openai", "main")
    assert (body["api_base"], body["is_active"], body["has_api_key"]) == ("https://llm.example.com/v1", True, True)
    assert body["created_at"].endswith("Z")
    assert operator.get(f"{PATH}/{body['credential_id']}").json() == body
    assert stored_key(body["credential_id"]) == KEY
    entry = AuditEntry.objects.get(action="credential.create")
    assert (entry.object_id, entry.reason) == (body["credential_id"], "on behalf of ann")


def test_credential_without_an_organization_is_the_platform_s(operator):
    assert create(operator, organization_id=None).json()["organization_id"] is None


@pytest.mark.parametrize("field", ["organization_id", "provider", "api_key", "credential_name"])
def test_required_fields(operator, field):
    body = {"organization_id": "acme-org", "provider": "openai", "api_key": KEY, "credential_name": "main"}
    del body[field]
    assert located(operator.post(f"{PATH}/create", body)) == [["body", field]]


def test_unknown_provider_is_told_the_known_ones(operator):
    answer = create(operator, provider="mistral")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_provider")
    assert answer.json()["detail"] == (
        "Invalid provider: mistral. Must be one of: openai, anthropic, gemini, fireworks"
    )


def test_second_active_credential_is_refused(operator):
    created(operator)
    answer = create(operator)
    assert (answer.status_code, answer.json()["code"]) == (400, "credential_exists")
    assert "already exists" in answer.json()["detail"]
    created(operator, organization_id="globex-org")
    created(operator, provider="gemini")


def test_unknown_organization_is_not_found(operator):
    assert create(operator, organization_id="nobody").status_code == 404
    assert not ProviderCredential.objects.exists()


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"api_key": "sk-secret with space"}, "api_key"),
        ({"api_key": ["sk-secret"]}, "api_key"),
        ({"api_key": "sk-secret" * 1000}, "api_key"),
        ({"api_key": 5}, "api_key"),
        ({"api_base": "https://user:sk-secret@llm.example.com"}, "api_base"),
        ({"api_base": "https://llm.example.com/?key=sk-secret"}, "api_base"),
        ({"api_base": "https://sk-secret" + "x" * 500}, "api_base"),
        ({"api_base": "http://llm.example.com"}, "api_base"),
        ({"api_base": "https://169.254.169.254/latest"}, "api_base"),
        ({"credential_name": ""}, "credential_name"),
    ],
)
def test_what_is_refused_is_named_and_no_secret_repeated(operator, more, field):
    answer = create(operator, **more)
    assert all(loc[:2] == ["body", field] for loc in located(answer))
    assert "sk-secret" not in answer.content.decode()
    assert KEY not in answer.content.decode()
    assert not ProviderCredential.objects.exists()


def test_repeat_with_the_same_key_makes_one_credential(operator):
    first, second = (create(operator, key="once") for _ in range(2))
    assert first.json() == second.json()
    assert second["Idempotency-Replayed"] == "true"
    assert ProviderCredential.objects.count() == 1
    assert KEY not in str(list(IdempotencyKey.objects.values()))
    assert create(operator, key="once", api_key="sk-another").status_code == 422


# --- Read --------------------------------------------------------------------------------------------------


def test_lists_are_arrays_of_the_active_ones_unless_told_otherwise(operator):
    own, platform = created(operator), created(operator, organization_id=None)
    idle = created(operator, provider="gemini")
    foreign = created(operator, organization_id="globex-org")
    operator.put(f"{PATH}/{idle}/deactivate")

    def ids(path=PATH, **query):
        return [each["credential_id"] for each in operator.get(path, **query).json()]

    assert ids() == [own, platform, foreign]
    assert ids(active_only="false") == [own, platform, idle, foreign]
    assert ids(organization_id="acme-org") == [own]
    assert ids(organization_id="nobody") == []
    assert ids(provider="gemini", active_only="False") == [idle]
    assert ids(limit=1, offset=1) == [platform]
    assert ids(f"{PATH}/organization/acme-org") == [own]
    assert ids(f"{PATH}/organization/acme-org", active_only="0") == [own, idle]
    assert operator.get(f"{PATH}/organization/nobody").status_code == 404
    assert operator.get(PATH, provider="mistral").status_code == 400
    assert located(operator.get(PATH, active_only="perhaps")) == [["query", "active_only"]]


def test_organization_s_credential_of_a_provider(operator):
    own = created(operator)
    created(operator, organization_id=None, provider="gemini")
    created(operator, organization_id="globex-org", provider="fireworks")
    path = f"{PATH}/organization/acme-org/provider"

    assert operator.get(f"{path}/openai").json()["credential_id"] == own
    assert operator.get(f"{path}/gemini").status_code == 404
    assert operator.get(f"{path}/fireworks").status_code == 404
    assert operator.get(f"{path}/mistral").status_code == 400
    operator.put(f"{PATH}/{own}/deactivate")
    assert operator.get(f"{path}/openai").json()["code"] == "credential_not_found"


@pytest.mark.parametrize("value", ["true", "True", "1", "please"])
def test_key_is_refused_to_whoever_asks_for_it(operator, value):
    path = f"{PATH}/{created(operator)}"
    for each in (path, PATH, f"{PATH}/organization/acme-org", f"{PATH}/organization/acme-org/provider/openai"):
        answer = operator.get(each, include_api_key=value)
        assert answer.status_code == 400
        assert "never shown" in answer.json()["detail"]
        assert KEY not in answer.content.decode()
    assert operator.get(path, include_api_key="false").status_code == 200


# --- Change ------------------------------------------------------------------------------------------------


def test_changed_credential(operator):
    path = f"{PATH}/{created(operator, api_base='https://llm.example.com')}"

    body = operator.put(path, {"credential_name": "renamed", "api_key": "sk-new", "updated_by": "bob"}).json()
    assert (body["credential_name"], body["api_base"]) == ("renamed", "https://llm.example.com")
    assert stored_key(body["credential_id"]) == "sk-new"
    assert operator.put(path, {"api_base": None, "is_active": False}).json()["api_base"] is None
    assert operator.get(path).json()["is_active"] is False
    assert stored_key(body["credential_id"]) == "sk-new"

    first = AuditEntry.objects.filter(action="credential.update").order_by("id").first()
    assert (first.reason, first.after) == ("on behalf of bob", {"name": "renamed", "api_key": "replaced"})


def test_wrong_change_is_refused_and_changes_nothing(operator):
    path = f"{PATH}/{created(operator)}"
    before = operator.get(path).json()
    assert located(operator.put(path, {"credential_name": "x", "api_key": "two words"})) == [["body", "api_key"]]
    assert located(operator.put(path, {"credential_name": "x", "api_base": "x"})) == [["body", "api_base"]]
    assert operator.get(path).json() == before


def test_activating_and_deactivating(operator):
    first = created(operator)
    assert operator.put(f"{PATH}/{first}/deactivate").json() == {
        "credential_id": first,
        "is_active": False,
        "message": "Provider credential 'main' deactivated successfully",
    }
    second = created(operator)

    assert operator.put(f"{PATH}/{first}/activate").json()["code"] == "credential_exists"
    operator.put(f"{PATH}/{second}/deactivate")
    assert operator.put(f"{PATH}/{first}/activate").json()["is_active"] is True
    assert operator.put(f"{PATH}/{first}/activate").status_code == 200


def test_deleted_credential(operator):
    path = f"{PATH}/{created(operator)}"
    body = operator.delete(path).json()
    assert set(body) == {"credential_id", "message"}
    assert operator.get(path).status_code == 404
    assert not ProviderCredential.objects.exists()


@pytest.mark.parametrize("unknown", [UNKNOWN, "nonsense"])
def test_unknown_credential_is_not_found(operator, unknown):
    path = f"{PATH}/{unknown}"
    answers = [operator.get(path), operator.put(path, {"is_active": False}), operator.delete(path)]
    answers += [operator.put(f"{path}/{verb}") for verb in ("activate", "deactivate")]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "credential_not_found")] * 5


# --- Who ---------------------------------------------------------------------------------------------------


def test_operators_alone_may_ask(operator, nobody, team_key):
    path = f"{PATH}/{created(operator)}"
    for caller in (nobody, team_key):
        answers = [
            create(caller),
            caller.get(PATH),
            caller.get(path),
            caller.put(path, {"is_active": False}),
            caller.put(f"{path}/activate"),
            caller.put(f"{path}/deactivate"),
            caller.delete(path),
            caller.get(f"{PATH}/organization/acme-org"),
            caller.get(f"{PATH}/organization/acme-org/provider/openai", include_api_key="true"),
        ]
        assert {answer.status_code for answer in answers} == {401}


def test_key_is_in_no_answer_audit_row_or_log(operator, caplog):
    caplog.set_level(logging.DEBUG)
    path = f"{PATH}/{created(operator)}"
    answers = [create(operator), operator.get(path), operator.get(PATH), operator.put(path, {"api_key": KEY})]
    answers += [operator.put(f"{path}/deactivate"), operator.put(path, {"api_key": KEY, "is_active": "x"})]
    answers.append(operator.delete(path))

    written = str(list(AuditEntry.objects.values())) + caplog.text
    assert all(KEY not in answer.content.decode() for answer in answers)
    assert KEY not in written


def test_key_is_in_no_repr_of_a_request():
    # Tracebacks and debuggers show those.
    body = {"organization_id": None, "provider": "openai", "api_key": KEY, "credential_name": "main"}
    for wanted in (CreateCredentialInput, UpdateCredentialInput):
        parsed = validate(wanted, body)
        assert parsed.api_key.get_secret_value() == KEY
        assert KEY not in repr(parsed)
