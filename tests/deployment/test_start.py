"""Without a route to a model, web, worker and beat say so in one line and end; none answers meanwhile."""

import sys
from pathlib import Path

import pytest

from tests.harness import processes
from tests.harness.ports import free_port
from tests.harness.processes import NotReady

WSGI = "saasllm.wsgi:application"
CELERY = ["-m", "celery", "-A", "saasllm"]


def commands(folder: Path) -> dict[str, list[str]]:
    port = str(free_port())
    return {
        "granian": ["-m", "granian", "--interface", "wsgi", WSGI, "--port", port, "--respawn-failed-workers"],
        "gunicorn": ["-m", "gunicorn", WSGI, "--worker-class", "gthread", "--bind", f"127.0.0.1:{port}"],
        "worker": [*CELERY, "worker", "-P", "threads", "-c", "1"],
        "beat": [*CELERY, "beat", "--schedule", str(folder / "schedule"), "--pidfile="],
    }


@pytest.mark.parametrize("name", ["granian", "gunicorn", "worker", "beat"])
def test_without_a_route_a_process_says_so_and_ends(name: str, tmp_path: Path) -> None:
    # Set to nothing, so that a .env of this checkout does not matter.
    given = {"HOME": str(tmp_path), "REDIS_URL": "redis://127.0.0.1:1/0", "LITELLM_BASE_URL": ""}
    with pytest.raises(NotReady, match=rf"(?s){name} ended with [1-9].*Not started: LITELLM_BASE_URL") as ended:
        processes.start(name, [sys.executable, *commands(tmp_path)[name]], given, is_ready=lambda _: False)
    assert "Traceback" not in str(ended.value)
