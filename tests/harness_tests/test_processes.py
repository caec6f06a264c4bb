import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import requests

from tests.harness import cpu, processes
from tests.harness.ports import free_port
from tests.harness.processes import NotReady, Process

WSGI = "tests.harness_tests.tiny:application"
CELERY = "tests.harness_tests.tiny"


@pytest.mark.parametrize("start", [processes.start_web, processes.start_web_gunicorn])
def test_a_killed_web_process_takes_its_children_along_and_starts_again_on_its_port(
    start: Callable[..., Process],
) -> None:
    first = start({}, application=WSGI)
    assert cpu.group_members(first.pid) >= 2
    assert first.cpu_seconds() > 0
    first.kill()
    assert cpu.group_members(first.pid) == 0
    with pytest.raises(ProcessLookupError):
        first.cpu_seconds()
    second = start({}, application=WSGI, port=first.port)
    assert requests.get(f"{second.url}/health", timeout=5).text == "ok"
    assert second.stop() == 0


def test_a_worker_is_ready_when_it_consumes() -> None:
    worker = processes.start_worker({}, app=CELERY, concurrency=1)
    assert worker.is_running()
    worker.kill()
    assert cpu.group_members(worker.pid) == 0


def test_beat_starts_and_is_killed() -> None:
    beat = processes.start_beat({}, app=CELERY)
    beat.kill()
    assert not beat.is_running()


def test_a_process_that_ends_at_once_is_told_with_its_log() -> None:
    with pytest.raises(NotReady, match=r"(?s)web ended with \d.*no_such_module"):
        processes.start_web({}, application="tests.no_such_module:application")


def test_a_process_that_is_never_ready_is_killed() -> None:
    command = [sys.executable, "-c", "import time; print('starting', flush=True); time.sleep(60)"]
    with pytest.raises(NotReady, match=r"(?s)not ready in 0\.3 s"):
        processes.start("sleeper", command, {}, is_ready=lambda _: False, timeout_s=0.3)


def test_a_process_that_ignores_sigterm_is_killed_and_reported() -> None:
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    )
    process = processes.start(
        "deaf", [sys.executable, "-c", program], {}, is_ready=lambda process: process.log() == "1\n"
    )
    with pytest.raises(TimeoutError, match="deaf did not stop"):
        process.stop(timeout_s=0.05)
    assert not process.is_running()


def test_only_the_given_environment_reaches_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://leaked")
    environment = processes.environment({"REDIS_URL": "redis://given"})
    assert "DATABASE_URL" not in environment
    assert environment["REDIS_URL"] == "redis://given"
    assert environment["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize("ending", ["pass", "raise RuntimeError", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_nothing_outlives_the_interpreter_that_started_it(ending: str) -> None:
    port = free_port()
    program = (
        "import os, signal\n"
        "from tests.harness import processes\n"
        f"print(processes.start_web({{}}, application={WSGI!r}, port={port}).pid, flush=True)\n"
        f"{ending}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=processes.environment({}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == {"p": 0, "r": 1, "o": -signal.SIGTERM}[ending[0]]
    deadline = time.monotonic() + 5
    while cpu.group_members(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert cpu.group_members(int(done.stdout)) == 0
