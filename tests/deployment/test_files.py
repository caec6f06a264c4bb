"""Dockerfile, .dockerignore, compose.yaml and deploy/: what must hold whatever else is changed in them."""

import base64
import re
import subprocess
from pathlib import Path

import pytest

from apps.api import downloads
from saasllm import checks
from tests.deployment import image, yaml_subset
from tests.deployment.image import ROOT

OURS = ["web", "worker", "beat", "migrate"]
REQUIRED = {"POSTGRES_PASSWORD": "secret", "LITELLM_MASTER_KEY": "sk-secret"}


def test_the_image_runs_as_nobody_in_particular() -> None:
    last = image.stages()[-1].instructions
    (user,) = [index for index, (name, _) in enumerate(last) if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last[user][1])
    assert {name for name, _ in last[user + 1 :]} == {"EXPOSE", "HEALTHCHECK", "CMD"}


def test_every_image_is_pinned_by_a_tag_that_says_its_version() -> None:
    bases = [stage.base for stage in image.stages()]
    images = [image.interpolated(service["image"], {}) for service in image.services().values()]
    for name in [*bases, *images]:
        assert re.fullmatch(r"[\w./-]+:(v?\d[\w.-]*|local)", name), name
    assert "ghcr.io/berriai/litellm:v1.106.2" in images


def test_no_secret_is_written_down() -> None:
    for name in ("Dockerfile", "compose.yaml", "deploy/litellm.yaml", ".env.example", "deploy/litellm.env.example"):
        text = (ROOT / name).read_text()
        assert not re.search(r"(?<![\w-])sk-[A-Za-z0-9]", text), name
    secrets = ("SECRET_KEY", "KEY_PEPPER", "ENCRYPTION_KEY", "MASTER_KEY", "LITELLM_MASTER_KEY", "POSTGRES_PASSWORD")
    example = image.variables_of(ROOT / ".env.example")
    assert [example[secret] for secret in secrets] == [""] * len(secrets)


def test_the_image_holds_the_program_and_nothing_else(tmp_path: Path) -> None:
    image.copy_context(tmp_path)
    copied = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"manage.py", "requirements-runtime.txt", "saasllm/settings.py", "deploy/healthcheck.py"} <= copied
    assert downloads.TYPED_CLIENT.relative_to(ROOT).as_posix() in copied
    top = {name.split("/")[0] for name in copied}
    assert top <= {"manage.py", "requirements-runtime.txt", "apps", "saasllm", "templates", "deploy", "examples"}
    assert [name for name in copied if name.startswith("examples/")] == ["examples/typed_client.py"]
    assert not [name for name in copied if name.endswith((".pyc", ".sqlite3")) or "/.env" in name]


def test_web_is_started_alike_by_image_and_compose() -> None:
    assert image.stages()[-1].command("CMD") == image.command_of("web", {})


def test_threads_are_the_same_figure_for_server_and_platform() -> None:
    words = image.stages()[-1].command("CMD")
    assert image.stages()[-1].environment()["WEB_THREADS"] == words[words.index("--blocking-threads") + 1]
    changed = {"WEB_THREADS": "96"}
    words = image.command_of("web", changed)
    assert words[words.index("--blocking-threads") + 1] == "96"
    assert image.interpolated(image.services()["web"]["environment"]["WEB_THREADS"], changed) == "96"


def test_granian_keeps_no_memory_by_thread() -> None:
    # A thousand streams are a thousand threads.
    given = image.services()["web"]["environment"]["_RJEM_MALLOC_CONF"]
    assert given == image.stages()[-1].environment()["_RJEM_MALLOC_CONF"] == "tcache:false"


def test_open_connections_cannot_lock_out_probes() -> None:
    # granian's backpressure counts connections, idle ones too.
    words = image.command_of("web", {})
    assert int(words[words.index("--backpressure") + 1]) >= 8 * int(words[words.index("--blocking-threads") + 1])


@pytest.mark.parametrize("service", OURS)
def test_our_services_differ_in_their_command_alone(service: str) -> None:
    described, web = image.services()[service], image.services()["web"]
    for key in ("image", "build", "env_file", "environment", "networks", "read_only", "cap_drop", "security_opt"):
        assert described[key] == web[key], key


def test_nobody_starts_before_the_migrations() -> None:
    for service in ("web", "worker", "beat"):
        needed = image.services()[service]["depends_on"]
        assert needed["migrate"] == {"condition": "service_completed_successfully"}
    assert image.services()["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert image.services()["migrate"]["restart"] == "no"


def test_provider_keys_and_ours_are_kept_apart() -> None:
    litellm = image.services()["litellm"]
    assert litellm["env_file"] == "deploy/litellm.env"
    assert set(litellm["environment"]) == {"LITELLM_MASTER_KEY", "LITELLM_LOCAL_MODEL_COST_MAP"}
    assert litellm["networks"] == ["models"]
    assert image.services()["postgres"]["networks"] == image.services()["redis"]["networks"] == ["data"]
    assert image.compose()["networks"]["data"] == {"internal": True}


def test_only_web_and_litellm_are_published_and_on_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in image.services().items() if "ports" in service}
    assert set(published) == {"web", "litellm"}
    for (port,) in published.values():
        assert image.interpolated(port, {}).startswith("127.0.0.1:")
    assert image.interpolated(published["web"][0], {}) == "127.0.0.1:8003:8003"
    assert published["litellm"] == ["127.0.0.1:8002:4000"]


def test_compose_refuses_to_start_without_secrets() -> None:
    for name in REQUIRED:
        given = {key: value for key, value in REQUIRED.items() if key != name}
        with pytest.raises(KeyError, match=name):
            image.interpolated((ROOT / "compose.yaml").read_text(), given)
    image.interpolated((ROOT / "compose.yaml").read_text(), REQUIRED)


def test_compose_files_that_hold_secrets_are_not_committed() -> None:
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {".env", "deploy/litellm.env"} <= set(ignored)


def test_litellm_is_configured_as_the_platform_expects() -> None:
    config = yaml_subset.load((ROOT / "deploy" / "litellm.yaml").read_text())
    names = [model["model_name"] for model in config["model_list"]]
    example = image.variables_of(ROOT / ".env.example")
    assert example["DEFAULT_MODEL"] in names
    for model in config["model_list"]:
        variable = re.fullmatch(r"os\.environ/(\w+)", model["litellm_params"]["api_key"])
        assert variable
        assert variable[1] in image.variables_of(ROOT / "deploy" / "litellm.env.example")
        assert "/" in model["litellm_params"]["model"]
    assert config["general_settings"] == {"master_key": "os.environ/LITELLM_MASTER_KEY"}
    assert config["router_settings"]["num_retries"] == 0
    assert config["litellm_settings"]["request_timeout"] <= float(example["GATEWAY_TIMEOUT_S"])
    (volume,) = image.services()["litellm"]["volumes"]
    source, target, _ = volume.split(":")
    assert (ROOT / source).samefile(ROOT / "deploy" / "litellm.yaml")
    assert target in image.command_of("litellm", {})


def test_secrets_are_filled_in_once(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text((ROOT / ".env.example").read_text() + "LAST=x")
    before = image.variables_of(env_file)

    def fill() -> dict[str, str]:
        script = ROOT / "deploy" / "fill_secrets.sh"
        subprocess.run(["sh", str(script), str(env_file)], check=True, capture_output=True)
        return image.variables_of(env_file)

    filled = fill()
    changed = {name for name in filled if filled[name] != before.get(name)}
    assert changed == {name for name, value in before.items() if value == ""} - {"CORS_ALLOWED_ORIGINS"}
    assert len(base64.urlsafe_b64decode(filled["ENCRYPTION_KEY"])) == 32
    assert len(filled["KEY_PEPPER"]) >= checks.KEY_PEPPER_MIN_LENGTH
    assert len({filled[name] for name in changed}) == len(changed)
    assert filled["POSTGRES_PASSWORD"].isalnum()
    assert env_file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [env_file]
    assert fill() == filled
