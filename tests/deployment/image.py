"""What Dockerfile, .dockerignore and compose.yaml say, read from the files, for a machine without Docker."""

import fnmatch
import json
import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.deployment import yaml_subset

ROOT = Path(__file__).resolve().parent.parent.parent
# ${NAME}, ${NAME:-default}, ${NAME:?message}
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<word>[^}]*))?\}")


@dataclass(frozen=True)
class Stage:
    """One `FROM` and what follows."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def of(self, name: str) -> list[str]:
        return [argument for instruction, argument in self.instructions if instruction == name]

    def command(self, name: str) -> list[str]:
        """The exec form of CMD, or of HEALTHCHECK's."""
        (argument,) = self.of(name)
        words: list[str] = json.loads(argument[argument.index("[") :])
        return words

    def environment(self) -> dict[str, str]:
        return dict(word.split("=", 1) for argument in self.of("ENV") for word in shlex.split(argument))


def stages() -> list[Stage]:
    """The stages of the Dockerfile, with build arguments' defaults put in."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found: list[Stage] = []
    arguments: dict[str, str] = {}
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, argument = line.partition(" ")
        if name == "ARG":
            key, _, default = argument.partition("=")
            arguments[key] = default
        elif name == "FROM":
            found.append(Stage(interpolated(argument, arguments).split()[0]))
        else:
            found[-1].instructions.append((name, argument.strip()))
    return found


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml_subset.load((ROOT / "compose.yaml").read_text())
    return document


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def command_of(service: str, environment: dict[str, str]) -> list[str]:
    """The command of a compose service as a list of words, its variables put in."""
    command = services()[service]["command"]
    words = command if isinstance(command, list) else shlex.split(command)
    return [interpolated(word, environment) for word in words]


def interpolated(text: str, environment: dict[str, str]) -> str:
    """Put in ${…} as Compose does.  Raises: KeyError for one that must be set and is not."""

    def value(match: re.Match[str]) -> str:
        given = environment.get(match["name"], "")
        if given:
            return given
        if match["kind"] == "-":
            return str(match["word"])
        raise KeyError(match["name"])

    return _VARIABLE.sub(value, text)


def variables_of_compose() -> set[str]:
    return {match["name"] for match in _VARIABLE.finditer((ROOT / "compose.yaml").read_text())}


def variables_of(env_file: Path) -> dict[str, str]:
    """NAME=value lines, those that are commented out too."""
    pairs = re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", env_file.read_text(), flags=re.MULTILINE)
    return dict(pairs)


def copy_context(target: Path) -> None:
    """Copy what .dockerignore lets into the build's context, and so into the image."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert patterns[0] == "*", "only what is named gets in"
    dropped = [pattern.removeprefix("**/").rstrip("/") for pattern in patterns if pattern.startswith("**/")]

    def ignored(_: str, names: list[str]) -> list[str]:
        return [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in dropped)]

    for pattern in patterns:
        source = ROOT / pattern.removeprefix("!")
        if not pattern.startswith("!") or not source.exists():
            continue
        destination = target / pattern.removeprefix("!")
        if source.is_dir():
            shutil.copytree(source, destination, ignore=ignored)
        else:
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, destination)
