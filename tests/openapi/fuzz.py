"""`make schema-fuzz`: schemathesis asks a served platform whatever its OpenAPI document allows, and what it does not.

Three runs, each on a platform of its own: as an operator, as a team, and as nobody. Exits 1 when one finds anything.
"""

# ruff: noqa: T201 - it talks to its caller by printing.

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.harness import processes

MASTER_KEY = "sk-admin-of-the-fuzzed-platform"
ORGANIZATION, TEAM, OTHER_TEAM = "fuzzed", "fuzzed-team", "suspended-team"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
CALLERS = ("operator", "team", "nobody")


@dataclass(frozen=True)
class Platform:
    """A served platform with a customer."""

    url: str
    key: str
    job_id: str

    def headers(self, caller: str) -> dict[str, str]:
        """The credential of one of CALLERS."""
        secrets = {"operator": MASTER_KEY, "team": self.key}
        return {"Authorization": f"Bearer {secrets[caller]}"} if caller in secrets else {}


@contextmanager
def served(folder: Path) -> Iterator[Platform]:
    """A platform in one process on a database of its own, with a customer and an open job."""
    env = {
        "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}",
        "SAASLLM_EMBEDDED": "1",
        "MASTER_KEY": MASTER_KEY,
        "ENCRYPTION_KEY": "",
        "CALL_WAIT_S": "10",
    }
    processes.manage(env, "migrate", "--verbosity", "0")
    web = processes.start_web(env)
    try:
        yield _with_customer(web.url)
        if not web.is_running():
            raise RuntimeError(f"the platform ended:\n{web.log_tail()}")
    finally:
        web.kill()


def _with_customer(url: str) -> Platform:
    with httpx.Client(base_url=url, headers={"X-Admin-Key": MASTER_KEY}, timeout=30) as operator:

        def made(path: str, **body: object) -> dict[str, str]:
            found: dict[str, str] = operator.post(path, json=body).raise_for_status().json()
            return found

        model = {"model_alias": "chat-fast", "provider": "openai", "actual_model": "demo", "route": "demo"}
        made("/api/models/create", **model, display_name="Fast", is_open=True, is_default=True)
        made("/api/organizations/create", organization_id=ORGANIZATION, name="Fuzzed", create_default_team=False)
        plan = {"organization_id": ORGANIZATION, "credits_allocated": 1_000_000}
        key = made("/api/teams/create", team_id=TEAM, **plan)["virtual_key"]
        made("/api/teams/create", team_id=OTHER_TEAM, **plan)
        team = {"Authorization": f"Bearer {key}"}
        job = httpx.post(f"{url}/api/jobs/create", json={"team_id": TEAM, "job_type": "fuzz"}, headers=team)
        return Platform(url, key, str(job.raise_for_status().json()["job_id"]))


def configuration(platform: Platform, caller: str) -> str:
    """What schemathesis reads: ids that exist, and another team for what would lock the first one out."""
    lines = [f'headers = {{ Authorization = "{value}" }}' for value in platform.headers(caller).values()]
    return "\n".join(
        [
            *lines,
            "[parameters]",
            f'"path.team_id" = "{TEAM}"',
            f'"query.team_id" = "{TEAM}"',
            f'"path.organization_id" = "{ORGANIZATION}"',
            f'"path.job_id" = "{platform.job_id}"',
            "[[operations]]",
            'include-path-regex = "/(suspend|pause|resume|status|cancel|complete)$"',
            "[operations.parameters]",
            f'"path.team_id" = "{OTHER_TEAM}"',
            '"path.organization_id" = "no-organization"',
            '"path.job_id" = "no-job"',
        ]
    )


def fuzz(caller: str, *, examples: int, seed: int, phases: str, only: str = "") -> int:
    """One run. Returns schemathesis's exit code."""
    with tempfile.TemporaryDirectory(prefix="schema-fuzz-") as name, served(Path(name)) as platform:
        config = Path(name) / "schemathesis.toml"
        config.write_text(configuration(platform, caller))
        command = [Path(sys.executable).parent / "schemathesis", "--config-file", config, "run"]
        command += [f"{platform.url}/openapi.json", "--checks", ",".join(CHECKS), "--phases", phases]
        command += ["--max-examples", str(examples), "--seed", str(seed), "--generation-database", "none"]
        command += ["--continue-on-failure", "--no-shrink", "--suppress-health-check", "all", "--warnings", "off"]
        command += ["--include-path-regex", only] if only else []
        print(f"=== {caller}", flush=True)
        return subprocess.run(command, cwd=name, check=False, env={**os.environ, "NO_COLOR": "1"}).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=20, help="generated requests for each operation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--phases", default="examples,coverage,fuzzing")
    parser.add_argument("--only", default="", help="paths that match this regular expression")
    parser.add_argument("--as", dest="callers", choices=CALLERS, nargs="*", default=list(CALLERS))
    asked = parser.parse_args()
    codes = {
        caller: fuzz(caller, examples=asked.examples, seed=asked.seed, phases=asked.phases, only=asked.only)
        for caller in asked.callers
    }
    print(json.dumps(codes))
    return max(codes.values())


if __name__ == "__main__":
    sys.exit(main())
