"""What the image installs, without and with LiteLLM's SDK, against pyproject.toml and requirements.txt."""

import re
import tomllib
from pathlib import Path

from apps.jobs.gateway.litellm_sdk import MALICIOUS
from tests.deployment.image import ROOT

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<rest>.*)$")
_NAME = re.compile(r"^[A-Za-z0-9._-]+")


def pins(path: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Package: version with markers, hashes."""
    found = {}
    for entry in re.sub(r"#.*", "", path.read_text()).replace("\\\n", " ").splitlines():
        if not entry.strip():
            continue
        requirement, *hashes = entry.split("--hash=")
        match = _PIN.match(requirement.strip())
        assert match, f"not a pin: {requirement}"
        found[match["name"]] = (match["rest"].strip(), frozenset(value.strip() for value in hashes))
    return found


def names(requirements: list[str]) -> set[str]:
    return {match[0].lower() for requirement in requirements if (match := _NAME.match(requirement))}


def test_the_image_gets_what_was_tested() -> None:
    tested, shipped = pins(ROOT / "requirements.txt"), pins(ROOT / "requirements-runtime.txt")
    assert shipped
    assert shipped.items() <= tested.items()
    assert all(hashes for _, hashes in shipped.values())


def test_the_image_gets_what_the_project_needs_and_no_tools() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = set(pins(ROOT / "requirements-runtime.txt"))
    assert names(project["project"]["dependencies"]) <= shipped
    tools = names([*project["dependency-groups"]["test"], *project["dependency-groups"]["dev"]])
    assert not tools & shipped


def test_the_sdk_comes_beside_the_same_versions_and_is_pinned_itself() -> None:
    shipped, with_sdk = pins(ROOT / "requirements-runtime.txt"), pins(ROOT / "requirements-litellm.txt")
    assert shipped.items() <= with_sdk.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    version = with_sdk["litellm"][0]
    assert project["project"]["optional-dependencies"]["litellm"] == [f"litellm[mcp]=={version}"]
    assert version not in MALICIOUS
    assert all(hashes for _, hashes in with_sdk.values())


def test_no_registry_is_named() -> None:
    for name in ("requirements.txt", "requirements-runtime.txt", "requirements-litellm.txt"):
        assert "://" not in (ROOT / name).read_text(), name
