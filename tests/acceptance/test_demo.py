"""`manage.py demo` as a newcomer meets it: one command, a job that ran, and one clear line when it cannot."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.acceptance import examples
from tests.harness.ports import free_port

# Only what programs need to run at all: the tests' own settings must not leak in.
BASE = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}


def demo(folder: Path, **env: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "manage.py", "demo"],
        cwd=examples.ROOT,
        env={**BASE, "DEMO_DIR": str(folder), **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def running_demo(folder: Path, port: int, **env: str) -> Iterator[str]:
    """A running demo, ended by Ctrl-C. Yields what it printed up to the end of its tour."""
    process = demo(folder, PORT=str(port), **env)
    assert process.stdout is not None
    printed = []
    try:
        for line in process.stdout:
            printed.append(line)
            if "Ctrl-C ends it" in line or "Error" in line:
                break
        yield "".join(printed)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def env_of(folder: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (folder / "env").read_text().splitlines())


def refusal(folder: Path, **env: str) -> str:
    process = demo(folder, **env)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    return output


def test_demo_runs_a_job_and_says_how_to_go_on(tmp_path):
    port = free_port()
    started = time.monotonic()
    with running_demo(tmp_path, port) as printed:
        assert time.monotonic() - started < 60
        assert re.search(r"answer\s+Python is", printed), printed
        assert "100 before, 99 after" in printed
        assert f"http://localhost:{port}/admin/" in printed
        assert "curl -s" in printed
        kept = env_of(tmp_path)
        assert set(kept) == {"SAAS_LITELLM_VIRTUAL_KEY", "SAAS_LITELLM_TEAM_ID", "MASTER_KEY"}
        teams = requests.get(
            f"http://localhost:{port}/api/teams", headers={"X-Admin-Key": kept["MASTER_KEY"]}, timeout=10
        )
        assert [team["team_id"] for team in teams.json()] == ["demo-team"]


def test_demo_started_twice_keeps_its_data_and_its_key(tmp_path):
    port = free_port()
    with running_demo(tmp_path, port):
        first = env_of(tmp_path)
    with running_demo(tmp_path, port) as printed:
        assert "99 before, 98 after" in printed
        assert env_of(tmp_path) == first


def test_every_example_runs_against_the_demo(tmp_path):
    from apps.core.portlock import port_lock

    # The examples name this port: wait for whoever has it, and let the demo take the lock itself.
    port_lock(8003, wait_s=120).release()
    with running_demo(tmp_path, 8003) as printed:
        assert "is running at" in printed, printed
        env = {**BASE, **env_of(tmp_path)}
        names = examples.EXPECTED_OF_DEMO
        assert {name: examples.problem_of(name, env) for name in names} == dict.fromkeys(names, "")


def test_port_in_use_is_one_clear_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        output = refusal(tmp_path, PORT=str(port))
    assert f"Port {port} is in use" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "url", ["postgres://nobody@127.0.0.1:1/none", "mysql://localhost/x", "sqlite:////no/such/folder/x.sqlite3"]
)
def test_broken_database_url_is_one_clear_line(tmp_path, url):
    output = refusal(tmp_path, PORT=str(free_port()), DATABASE_URL=url, DB_POOL_TIMEOUT_S="1")
    assert "Traceback" not in output
    assert "database" in output.lower()
    assert len(output.strip().splitlines()) == 1, output


def test_unreachable_litellm_is_one_clear_line(tmp_path):
    output = refusal(tmp_path, PORT=str(free_port()), LITELLM_BASE_URL=f"http://127.0.0.1:{free_port()}")
    assert "LITELLM_BASE_URL" in output
    assert "Traceback" not in output
    assert len(output.strip().splitlines()) == 1, output


def test_impossible_port_is_one_clear_line(tmp_path):
    assert "PORT must be a number" in refusal(tmp_path, PORT="http")


def readme_block(heading: str) -> str:
    """The shell commands under a heading of the README."""
    section = (examples.ROOT / "README.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return "\n".join(re.findall(r"```bash\n(.*?)```", section, re.S))


def test_the_readme_can_be_followed_to_its_end(tmp_path):
    from apps.core.portlock import port_lock

    port_lock(8003, wait_s=120).release()
    script = "set -eo pipefail\n" + readme_block("A first request") + "\n" + readme_block("A customer of your own")
    script = script.replace(". .demo/env", f". {tmp_path}/env")
    with running_demo(tmp_path, 8003):
        done = subprocess.run(
            ["bash", "-c", script], env=BASE, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    assert '"detail"' not in done.stdout, done.stdout
    assert '"total_calls":2' in done.stdout
    assert '"virtual_key":"sk-' in done.stdout
    assert '"credits_remaining":50' in done.stdout
    assert '"status":"suspended"' in done.stdout
