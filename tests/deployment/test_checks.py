import base64
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.checks.registry import registry

from saasllm import checks

ENCRYPTION_KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()


@pytest.fixture
def deployment(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Settings that nothing is wrong with, to spoil one at a time."""
    settings.EMBEDDED = False
    settings.DEBUG = False
    settings.SECRET_KEY = "s" * 64
    settings.KEY_PEPPER = "p" * 64
    settings.MASTER_KEY = "m" * 64
    settings.LITELLM_MASTER_KEY = "l" * 64
    settings.ENCRYPTION_KEYS = [ENCRYPTION_KEY]
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    settings.REDIS_URL = "redis://localhost:6379/0"
    settings.LITELLM_BASE_URL = "http://localhost:8002"
    settings.WEB_THREADS = 64
    settings.GRANIAN_BLOCKING_THREADS = None
    settings.ALLOWED_HOSTS = ["localhost", "llm.example.com"]
    settings.SECURE_SSL_REDIRECT = False
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    return settings


def ids(*, is_deploying: bool = True) -> list[str]:
    messages = run_checks(tags=[checks.TAG], include_deployment_checks=is_deploying)
    assert all(message.hint for message in messages)
    return [str(message.id) for message in messages]


def test_a_sound_deployment_has_nothing_to_hear(deployment: Any) -> None:
    assert ids() == []


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("DEBUG", True, "saasllm.E002"),
        ("SECRET_KEY", "development-only-not-a-secret", "saasllm.E003"),
        ("KEY_PEPPER", "development-only-not-a-secret", "saasllm.E004"),
        ("KEY_PEPPER", "short", "saasllm.E004"),
        ("KEY_PEPPER", "", "saasllm.E004"),
        ("MASTER_KEY", "sk-admin-local-dev-change-in-production", "saasllm.E005"),
        ("MASTER_KEY", "sk-1234", "saasllm.E005"),
        ("MASTER_KEY", "short", "saasllm.E005"),
        ("ENCRYPTION_KEYS", [], "saasllm.E006"),
        ("ENCRYPTION_KEYS", ["not a key"], "saasllm.E007"),
        ("ENCRYPTION_KEYS", [ENCRYPTION_KEY, ENCRYPTION_KEY[:-8]], "saasllm.E007"),
        ("ENCRYPTION_KEYS", ["ключ"], "saasllm.E007"),
        ("REDIS_URL", "", "saasllm.E009"),
        ("LITELLM_BASE_URL", "", "saasllm.E010"),
        ("LITELLM_BASE_URL", "localhost:8002", "saasllm.E010"),
        ("LITELLM_BASE_URL", "http://[", "saasllm.E010"),
        ("GRANIAN_BLOCKING_THREADS", 32, "saasllm.E011"),
        ("ALLOWED_HOSTS", ["llm.example.com", "*"], "saasllm.E012"),
        ("MASTER_KEY", "", "saasllm.W001"),
        ("LITELLM_MASTER_KEY", "", "saasllm.W002"),
        ("LITELLM_MASTER_KEY", "sk-1234", "saasllm.W002"),
        ("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"], "saasllm.W003"),
    ],
)
def test_what_must_not_reach_production_is_named(deployment: Any, name: str, value: object, found: str) -> None:
    setattr(deployment, name, value)
    assert ids() == [found]


def test_sqlite_must_not_reach_production(deployment: Any) -> None:
    deployment.DATABASES["default"]["ENGINE"] = "django.db.backends.sqlite3"
    assert ids() == ["saasllm.E008"]


def test_a_redirect_that_would_never_end_is_named(deployment: Any) -> None:
    deployment.SECURE_SSL_REDIRECT = True
    assert ids() == []
    deployment.SECURE_PROXY_SSL_HEADER = None
    assert ids() == ["saasllm.W004"]


def test_equal_thread_figures_are_fine(deployment: Any) -> None:
    deployment.GRANIAN_BLOCKING_THREADS = deployment.WEB_THREADS
    assert ids() == []


def test_the_demo_hears_only_that_it_is_one(deployment: Any) -> None:
    deployment.EMBEDDED = True
    deployment.DEBUG = True
    deployment.MASTER_KEY = ""
    deployment.REDIS_URL = ""
    assert ids() == ["saasllm.E001"]


def test_a_laptop_hears_nothing(deployment: Any) -> None:
    deployment.DEBUG = True
    assert ids(is_deploying=False) == []


def test_every_check_is_for_deployments() -> None:
    ours = [check for check in registry.get_checks(include_deployment_checks=True) if checks.TAG in check.tags]
    assert ours
    assert not set(ours) & set(registry.get_checks(include_deployment_checks=False))


@pytest.mark.parametrize(("name", "found"), [("REDIS_URL", "saasllm.E009"), ("LITELLM_BASE_URL", "saasllm.E010")])
def test_a_process_that_could_make_no_call_does_not_start(
    deployment: Any, capsys: pytest.CaptureFixture[str], name: str, found: str
) -> None:
    setattr(deployment, name, "")
    with pytest.raises(SystemExit) as stopped:
        checks.require_startable()
    assert stopped.value.code not in (0, None)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert name in said
    assert found in said


def test_an_insecure_process_starts_all_the_same(deployment: Any) -> None:
    deployment.SECRET_KEY = deployment.DEVELOPMENT_SECRET
    deployment.MASTER_KEY = ""
    checks.require_startable()


def test_the_demo_starts_without_route_and_broker(deployment: Any) -> None:
    deployment.EMBEDDED = True
    deployment.REDIS_URL = deployment.LITELLM_BASE_URL = ""
    checks.require_startable()


@pytest.mark.parametrize("path", ["health", "livez"])
def test_probes_are_not_redirected_to_https(client: Any, settings: Any, path: str) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert client.get(f"/{path}").status_code == 200
    assert client.get("/api/organizations").status_code == 301


def test_every_id_is_in_the_deployment_guide() -> None:
    guide = (Path(checks.__file__).parent.parent / "docs" / "deployment.md").read_text()
    found = re.findall(r'id="(\S+)"', Path(checks.__file__).read_text())
    assert len(found) == len(set(found)) > 10
    assert [name for name in found if f"`{name}`" not in guide] == []
