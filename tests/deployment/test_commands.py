"""Every command that Dockerfile, compose.yaml and the deployment guide name, run without Docker.

In a copy of what the image holds, with a .env made from .env.example, on a database and a Redis of their own. Put in
place of Compose's are only addresses and ports.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
import redis
import requests

from tests.deployment import image
from tests.deployment.image import ROOT
from tests.harness import processes, services, worker_ready
from tests.harness.ports import free_port
from tests.harness.processes import Process

pytestmark = pytest.mark.services

# The image's own command is the same as Compose's; test_files.py sees to that.
WEB = ("compose", "gunicorn")


@dataclass(frozen=True)
class Installation:
    """A copy of the image's files with its settings and services."""

    folder: Path
    environment: dict[str, str]
    settings: dict[str, str] = field(repr=False)

    @property
    def database_url(self) -> str:
        return self.environment["DATABASE_URL"]

    def command(self, service: str) -> list[str]:
        return image.command_of(service, self.settings)

    def words(self, command: Sequence[str]) -> list[str]:
        """`command` as it is run here: from the copy's folder."""
        return ["sh", "-c", 'cd "$0" && exec "$@"', str(self.folder), *command]

    def run(self, command: Sequence[str], **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.words(command),
            env=processes.environment({**self.environment, **environment}),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        is_ready: Callable[[Process], bool],
        port: int | None = None,
        **environment: str,
    ) -> Process:
        return processes.start(
            name,
            self.words(command),
            {**self.environment, **environment},
            is_ready=is_ready,
            port=port,
        )


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("image")
    image.copy_context(folder)
    (folder / "tmp").mkdir()
    example = folder / ".env"
    shutil.copy2(ROOT / ".env.example", example)
    subprocess.run(["sh", str(ROOT / "deploy" / "fill_secrets.sh"), str(example)], check=True, capture_output=True)
    provider = processes.start_fake_provider()
    with services.temporary_database("saas_deployment") as database_url, services.free_redis_db() as redis_url:
        places = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "LITELLM_BASE_URL": provider.url}
        assert set(places) | {"WEB_THREADS", "_RJEM_MALLOC_CONF"} == set(image.services()["web"]["environment"])
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": "",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(folder / "tmp"),
            **places,
        }
        made = Installation(folder, environment, image.variables_of(example))
        # As the image is built: without any setting.
        (build,) = [run for run in image.stages()[-1].of("RUN") if "manage.py" in run]
        bare = {name: environment[name] for name in ("PATH", "PYTHONPATH", "HOME")}
        example.rename(folder / "aside")
        subprocess.run(made.words(["sh", "-c", build]), env=bare, check=True, capture_output=True, timeout=120)
        (folder / "aside").rename(example)
        migrated = made.run(made.command("migrate"))
        assert migrated.returncode == 0, migrated.stdout + migrated.stderr
        yield made
    provider.kill()


def web_command(installation: Installation, which: str, port: int) -> list[str]:
    command = installation.command("web") if which == "compose" else documented("gunicorn")
    replaced = [re.sub(r"\b8003$", str(port), word) for word in command]
    assert replaced != command
    return replaced


def documented(program: str) -> list[str]:
    """The command of the deployment guide that starts with `program`."""
    guide = (ROOT / "docs" / "deployment.md").read_text().replace("\\\n", " ")
    (line,) = re.findall(rf"^{program} .*$", guide, flags=re.MULTILINE)
    return shlex.split(line)


def is_serving(process: Process) -> bool:
    try:
        return requests.get(f"{process.url}/readyz", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def start_web(installation: Installation, which: str) -> Process:
    port = free_port()
    return installation.start("web", web_command(installation, which, port), is_ready=is_serving, port=port)


def start_worker(installation: Installation, folder: Path) -> Process:
    # Not on the way of the copy's own modules: a folder with this one alone.
    shutil.copy2(Path(str(worker_ready.__file__)), folder / "worker_ready.py")
    return installation.start(
        "worker",
        [*installation.command("worker"), "--include", "worker_ready"],
        is_ready=lambda process: worker_ready.LINE in process.log(),
        PYTHONPATH=str(folder),
    )


def start_beat(installation: Installation, folder: Path) -> Process:
    words = [word.replace("/tmp/", f"{folder}/") for word in installation.command("beat")]
    assert words != installation.command("beat")
    # An earlier beat's row stays; one that was stopped has swept before this one is started.
    swept_before = swept_at(installation)
    return installation.start("beat", words, is_ready=lambda _: swept_at(installation) != swept_before)


def healthcheck(installation: Installation, port: int | None) -> int:
    words = image.stages()[-1].command("HEALTHCHECK")
    return installation.run([word.replace(":8003/", f":{port}/") for word in words]).returncode


def test_the_copy_is_what_runs(installation: Installation) -> None:
    told = installation.run(["python", "-c", "import saasllm, apps; print(saasllm.__file__, apps.__file__)"])
    assert told.stdout.count(str(installation.folder)) == 2


def test_a_deployment_by_the_example_has_no_errors(installation: Installation) -> None:
    checked = installation.run(["python", "manage.py", "check", "--deploy", "--fail-level", "ERROR"])
    assert checked.returncode == 0
    assert "saasllm." not in checked.stdout + checked.stderr


def test_unsafe_settings_are_not_migrated(installation: Installation) -> None:
    refused = installation.run(installation.command("migrate"), MASTER_KEY="sk-1234")
    assert refused.returncode != 0
    assert "saasllm.E005" in refused.stderr
    assert "Running migrations" not in refused.stdout


@pytest.mark.parametrize("which", WEB)
def test_web_serves_until_it_is_stopped(installation: Installation, which: str) -> None:
    web = start_web(installation, which)
    # More clients that keep their connection open than there are threads must not lock out a probe.
    idle = [requests.Session() for _ in range(int(installation.settings["WEB_THREADS"]) + 4)]
    assert {session.get(f"{web.url}/livez", timeout=5).status_code for session in idle} == {200}
    assert healthcheck(installation, web.port) == 0
    login = requests.get(f"{web.url}/admin/login/", headers={"X-Forwarded-Proto": "https"}, timeout=5)
    assert login.status_code == 200
    assert "Secure" in login.headers["Set-Cookie"]
    assert requests.get(f"{web.url}/static/admin/css/base.css", timeout=5).status_code == 200
    assert web.stop() == 0
    assert healthcheck(installation, web.port) != 0
    for session in idle:
        session.close()


def test_a_worker_consumes_until_it_is_stopped(installation: Installation, tmp_path: Path) -> None:
    assert start_worker(installation, tmp_path).stop() == 0


def test_beat_sweeps_until_it_is_stopped(installation: Installation, tmp_path: Path) -> None:
    assert start_beat(installation, tmp_path).stop() == 0


def test_all_together_make_a_customer_s_call(installation: Installation, tmp_path: Path) -> None:
    given = provision(installation)
    web = start_web(installation, "compose")
    worker = start_worker(installation, tmp_path)
    beat = start_beat(installation, tmp_path)
    answer = create_and_call(web, given)
    assert answer.status_code == 200, answer.text + worker.log_tail()
    assert answer.json()["response"]["content"]
    assert [process.stop() for process in (beat, worker, web)] == [0, 0, 0]


@pytest.mark.parametrize("which", WEB)
def test_who_waits_for_an_answer_gets_it_before_web_stops(
    installation: Installation, tmp_path: Path, which: str
) -> None:
    given = provision(installation, "--default-model", "fake-slow-1500")
    web, worker = start_web(installation, which), start_worker(installation, tmp_path)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(create_and_call, web, given)
        wait_until(lambda: running_calls(installation) == 1)
        assert web.stop() == 0
        assert waiting.result().status_code == 200
    worker.kill()


def provision(installation: Installation, *options: str) -> dict[str, str]:
    """A customer by the command that compose.yaml names, and a key that is new each time."""
    header = (ROOT / "compose.yaml").read_text()
    (command,) = re.findall(r"docker compose run --rm web (python manage\.py provision .*)", header)
    told = installation.run([*shlex.split(command), "--new-key", *options])
    assert told.returncode == 0, told.stderr
    return dict(line.split("=", 1) for line in told.stdout.splitlines())


def create_and_call(web: Process, given: dict[str, str]) -> requests.Response:
    return requests.post(
        f"{web.url}/api/jobs/create-and-call",
        headers={"Authorization": f"Bearer {given['SAAS_LITELLM_VIRTUAL_KEY']}"},
        json={
            "team_id": given["SAAS_LITELLM_TEAM_ID"],
            "job_type": "greeting",
            "messages": [{"role": "user", "content": "Hello"}],
        },
        timeout=30,
    )


def wait_until(is_reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running_calls(installation: Installation) -> int:
    return count(installation, "SELECT count(*) FROM jobs_call WHERE state = 'running'")


def swept_at(installation: Installation) -> datetime | None:
    """When a sweeper last noted that it runs, by the database's clock."""
    found: datetime | None = value(installation, "SELECT max(seen_at) FROM core_process WHERE kind = 'sweeper'")
    return found


def count(installation: Installation, query: LiteralString) -> int:
    return int(value(installation, query))


def value(installation: Installation, query: LiteralString) -> Any:
    with psycopg.connect(installation.database_url) as connection:
        found = connection.execute(query).fetchone()
    assert found is not None
    return found[0]


def test_redis_refuses_rather_than_forgets(tmp_path: Path) -> None:
    command = image.command_of("redis", {})
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    port = free_port()

    def is_answering(_: Process) -> bool:
        try:
            with redis.Redis(port=port, socket_connect_timeout=1) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    words = [*command, "--port", str(port), "--dir", str(tmp_path)]
    server = processes.start("redis", words, {}, is_ready=is_answering, port=port)
    with redis.Redis(port=port) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("maxmemory") == {"maxmemory": str(256 * 1024 * 1024)}
    probe = image.services()["redis"]["healthcheck"]["test"][1:]
    assert subprocess.run([probe[0], "-p", str(port), *probe[1:]], check=True, capture_output=True, timeout=10)
    assert server.stop() == 0
    assert list(tmp_path.iterdir()) == []


def test_web_writes_nothing_beside_its_code(installation: Installation) -> None:
    # In the image the code belongs to root, and Compose mounts all of it read-only.
    before = sorted(installation.folder.rglob("*"))
    assert start_web(installation, "compose").stop() == 0
    assert sorted(installation.folder.rglob("*")) == before
