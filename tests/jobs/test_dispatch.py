"""Publishing: a hint that never raises, and that nobody waits for when the broker is not well."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import kombu.exceptions
import pytest
import redis.exceptions
from celery import current_app

from apps.jobs import dispatch
from tests.harness.ports import free_port


class Broker:
    """Takes messages until it fails."""

    def __init__(self, *, fails_after: int = 1_000, error: Exception | None = None) -> None:
        self.sent: list[tuple[str, list[list[str]]]] = []
        self.tries = 0
        self._fails_after = fails_after
        self._error = error or kombu.exceptions.OperationalError("Connection refused")

    def send_task(self, name: str, *, args: list[list[str]], retry: bool) -> None:
        assert retry is False
        self.tries += 1
        if len(self.sent) >= self._fails_after:
            raise self._error
        self.sent.append((name, args))


@pytest.fixture(autouse=True)
def _a_server(settings: Any) -> None:
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:6379/0"


def using(monkeypatch: pytest.MonkeyPatch, broker: Any) -> Any:
    monkeypatch.setattr(dispatch, "current_app", broker)
    return broker


def test_message_is_the_task_s_name_and_ids(monkeypatch: pytest.MonkeyPatch):
    broker = using(monkeypatch, Broker())

    assert dispatch.publish(["call-1", "call-2"]) == 2
    dispatch.publish_new("call-3")

    assert broker.sent == [("jobs.run_calls", [["call-1", "call-2"]]), ("jobs.run_calls", [["call-3"]])]


def test_many_calls_go_out_in_messages_that_several_workers_can_share(monkeypatch: pytest.MonkeyPatch):
    broker = using(monkeypatch, Broker())
    calls = [f"call-{index}" for index in range(2 * dispatch.GROUP_MOST + 1)]

    assert dispatch.publish(calls) == len(calls)

    groups = [args[0] for _, args in broker.sent]
    assert [len(group) for group in groups] == [dispatch.GROUP_MOST, dispatch.GROUP_MOST, 1]
    assert [call for group in groups for call in group] == calls


def test_name_is_that_of_the_task():
    from apps.jobs import tasks

    assert tasks.run_calls.name == dispatch.RUN_CALLS
    assert tasks.run_calls.acks_late
    assert tasks.run_calls.reject_on_worker_lost
    assert tasks.run_calls.ignore_result


def test_task_makes_the_calls(monkeypatch: pytest.MonkeyPatch):
    from apps.jobs import execution, tasks

    made: list[list[str]] = []
    monkeypatch.setattr(execution, "run_calls", made.append)

    tasks.run_calls(["call-1", "call-2"])

    assert made == [["call-1", "call-2"]]


@pytest.mark.parametrize(
    "error",
    [
        kombu.exceptions.OperationalError("refused"),
        kombu.exceptions.LimitExceeded("no connection free"),
        redis.exceptions.ConnectionError("gone"),
        redis.exceptions.TimeoutError("hung"),
        redis.exceptions.ResponseError("OOM command not allowed"),
        ConnectionResetError("reset"),
        TimeoutError("slow"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_failing_broker_raises_nothing(monkeypatch: pytest.MonkeyPatch, error: Exception):
    broker = using(monkeypatch, Broker(fails_after=0, error=error))

    assert dispatch.publish(["call-1"]) == 0
    assert broker.tries == 1


def test_rest_is_not_tried_after_a_failure(monkeypatch: pytest.MonkeyPatch):
    broker = using(monkeypatch, Broker(fails_after=2))

    assert dispatch.publish([f"call-{index}" for index in range(50)]) == 2 * dispatch.GROUP_MOST
    assert broker.tries == 3


def test_nothing_is_published_for_a_second_after_a_failure(monkeypatch: pytest.MonkeyPatch):
    broker = using(monkeypatch, Broker(fails_after=0))
    now = 1_000.0
    monkeypatch.setattr(dispatch.time, "monotonic", lambda: now)
    dispatch.publish(["call-1"])
    broker._fails_after = 1_000

    now = 1_000.9
    assert dispatch.publish(["call-2"]) == 0
    now = 1_001.1
    assert dispatch.publish(["call-3"]) == 1

    assert broker.tries == 2


# Publishes twice with the product's own settings and prints how long each took.
_TIMED = """
import time
import django
django.setup()
import saasllm.celery
from apps.jobs import dispatch
for _ in range(2):
    started = time.monotonic()
    assert dispatch.publish(["call-1"]) == 0
    print(time.monotonic() - started)
"""


def seconds_to_publish(port: int) -> list[float]:
    env = os.environ | {
        "DJANGO_SETTINGS_MODULE": "saasllm.settings",
        "REDIS_URL": f"redis://127.0.0.1:{port}/0",
        "REDIS_TIMEOUT_S": "0.3",
    }
    done = subprocess.run([sys.executable, "-c", _TIMED], env=env, capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def test_refused_broker_costs_no_time():
    first_s, _ = seconds_to_publish(free_port())

    assert first_s < 0.3


def test_broker_that_accepts_and_never_answers_costs_one_time_limit():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        first_s, second_s = seconds_to_publish(silent.getsockname()[1])

    assert 0.2 < first_s < 0.9
    assert second_s < 0.1


# --- In-memory broker: one process alone --------------------------------------------------------------------


@pytest.fixture
def in_memory(settings: Any) -> Iterator[Any]:
    settings.CELERY_BROKER_URL = "memory://localhost/"
    with current_app.connection_for_write() as connection:
        queue = connection.SimpleQueue(settings.CELERY_TASK_DEFAULT_QUEUE)
        queue.clear()
        yield queue
        queue.clear()


def test_command_beside_the_serving_process_publishes_nothing(in_memory: Any):
    assert dispatch.publish(["call-1"]) == 0
    assert in_memory.qsize() == 0


def test_serving_process_publishes_to_its_own_worker(in_memory: Any):
    dispatch.embedded_is_running()

    assert dispatch.publish(["call-1"]) == 1

    message = in_memory.get(block=False)
    assert message.headers["task"] == "jobs.run_calls"
    assert message.payload[0] == [["call-1"]]
    message.ack()
