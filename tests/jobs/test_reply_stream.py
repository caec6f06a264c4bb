"""Replies over a real Redis: a reader that lost its line for a while has missed nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from apps.core import processes
from apps.jobs import replies
from tests.harness.services import free_redis_db, redis_url
from tests.harness.tcp_proxy import RunningProxy, running_proxy

pytestmark = pytest.mark.services


class Ended(Exception):
    """Ends the reader's endless loop."""


@pytest.fixture
def direct() -> Iterator[redis.Redis]:
    with free_redis_db() as url, redis.Redis.from_url(url, decode_responses=True) as client:
        yield client


@pytest.fixture
def line(direct: redis.Redis, settings: Any) -> Iterator[RunningProxy]:
    """Everything of ours that talks to Redis does so over a line that can be broken."""
    place = urlsplit(redis_url())
    with running_proxy(target_host=place.hostname or "127.0.0.1", target_port=place.port or 6379) as proxy:
        settings.REDIS_URL = f"redis://127.0.0.1:{proxy.port}/{direct.connection_pool.connection_kwargs['db']}"
        settings.REDIS_PREFIX = "reply-stream-test"
        settings.REDIS_TIMEOUT_S = 0.3
        yield proxy


@pytest.fixture
def mailbox(line: RunningProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[replies.Mailbox]:
    """A mailbox that reads its stream and notes whom it woke."""
    monkeypatch.setattr(processes, "_made", {})
    monkeypatch.setattr(replies, "_BLOCK_MS", 50)
    mailbox, is_over, make_client = replies.Mailbox(), threading.Event(), replies._client

    def client(**options: Any) -> Any:
        if is_over.is_set():
            raise Ended
        made = make_client(**options)
        xread = made.xread

        def read(*args: Any, **more: Any) -> Any:
            if is_over.is_set():
                raise Ended
            return xread(*args, **more)

        made.xread = read
        return made

    monkeypatch.setattr(replies, "_client", client)

    def read_until_over() -> None:
        with suppress(Ended):
            mailbox._read()

    reader = threading.Thread(target=read_until_over, daemon=True)
    reader.start()
    yield mailbox
    is_over.set()
    line.pass_through()
    reader.join(timeout=10)
    assert not reader.is_alive()


@pytest.fixture
def woken(mailbox: replies.Mailbox, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(mailbox, "notify", calls.append)
    return calls


def until(reached: Callable[[], Any], *, timeout_s: float = 10) -> None:
    ends_at = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < ends_at, "not reached in time"
        time.sleep(0.005)


def tell(direct: redis.Redis, mailbox: replies.Mailbox, call: str) -> None:
    """As a worker whose own line is well."""
    direct.xadd(replies._stream_key(mailbox.name), {"calls": call})


def test_reply_of_another_process_arrives(mailbox: replies.Mailbox, woken: list[str]):
    replies.send(mailbox.name, "call-1")

    until(lambda: woken == ["call-1"])


@pytest.mark.parametrize("breakage", ["cut", "refuse", "hang"])
def test_broken_line_makes_no_hole(
    mailbox: replies.Mailbox, woken: list[str], line: RunningProxy, direct: redis.Redis, breakage: str
):
    tell(direct, mailbox, "before")
    until(lambda: woken == ["before"])

    getattr(line, breakage)()
    for index in range(3):
        tell(direct, mailbox, f"meanwhile-{index}")
    line.pass_through()
    tell(direct, mailbox, "after")

    until(lambda: len(woken) == 5)
    assert woken == ["before", "meanwhile-0", "meanwhile-1", "meanwhile-2", "after"]


def test_process_that_does_not_hear_its_stream_knows_it(
    mailbox: replies.Mailbox, line: RunningProxy, monkeypatch: pytest.MonkeyPatch
):
    until(mailbox.is_healthy)
    line.hang()
    heard_at = mailbox._heard_at
    monkeypatch.setattr(replies.time, "monotonic", lambda: heard_at + 2.1)

    assert not mailbox.is_healthy()


def test_stream_is_bounded_and_does_not_outlive_its_process(
    mailbox: replies.Mailbox, woken: list[str], direct: redis.Redis
):
    replies.send(mailbox.name, "call-1")

    until(lambda: woken)
    assert 3_500 < direct.ttl(replies._stream_key(mailbox.name)) <= 3_600


def test_hung_redis_costs_a_sender_one_time_limit(line: RunningProxy, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "_made", {})
    replies.send("web-1", "call-1")
    line.hang()

    started = time.monotonic()
    for _ in range(10):
        replies.send("web-1", "call-2")

    assert 0.2 < time.monotonic() - started < 1.5
