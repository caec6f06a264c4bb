"""Waiting for a call: woken by a reply, by a look at the row when there is none, and never for ever."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.db import InterfaceError, OperationalError, connection

from apps.core import clock, processes
from apps.core.models import Process
from apps.jobs import replies, services, statements
from apps.jobs.errors import ServerBusy
from apps.jobs.models import Call
from tests import make
from tests.harness.ports import free_port
from tests.jobs import steps


class Mailbox(replies.Mailbox):
    """A mailbox without its threads."""

    def _start(self) -> None:
        pass


class Starting(replies.Mailbox):
    """A mailbox that starts, and whose threads do nothing."""

    def _beat(self) -> None:
        pass


class Ended(Exception):
    """Ends a thread's endless loop after one round."""


@pytest.fixture
def mailbox(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    settings.REDIS_URL = ""
    monkeypatch.setattr(processes, "_made", {})
    return Mailbox()


@pytest.fixture
def submitted(acme: make.Customer) -> services.Submitted:
    return steps.ask(acme, steps.open_job(acme))


def test_reply_wakes_the_waiter(mailbox: Mailbox, submitted: services.Submitted):
    """Sent from within the publish: the waiter was entered before, so that no reply comes too early."""
    started = time.monotonic()

    woken = mailbox.wait(submitted.call_id, timeout_s=1, publish=lambda: mailbox.notify(str(submitted.call_id)))

    assert woken
    assert time.monotonic() - started < 0.5


@pytest.mark.django_db(transaction=True)
def test_who_waits_for_the_mailbox_to_start_holds_no_connection(settings: Any):
    """Else a burst on a fresh process has the whole pool wait for one that waits for the pool."""
    settings.REDIS_URL = ""
    mailbox, held = Starting(), []

    class Lock:
        def __enter__(self) -> None:
            held.append(connection.connection)

        def __exit__(self, *_: object) -> None:
            pass

    mailbox._lock = Lock()  # type: ignore[assignment]
    connection.ensure_connection()

    with mailbox.place(), mailbox.place():
        # And once it has started nobody asks for the lock.
        assert held == [None]


def test_reply_for_another_call_wakes_nobody(mailbox: Mailbox, submitted: services.Submitted):
    assert not mailbox.wait(submitted.call_id, timeout_s=0.05, publish=lambda: mailbox.notify("another"))


def test_reply_that_nobody_waits_for_is_nothing(mailbox: Mailbox):
    mailbox.notify("nobody's")


def test_every_waiter_of_a_call_is_woken(mailbox: Mailbox, submitted: services.Submitted):
    inner: list[bool] = []

    def second() -> None:
        inner.append(
            mailbox.wait(submitted.call_id, timeout_s=1, publish=lambda: mailbox.notify(str(submitted.call_id)))
        )

    assert mailbox.wait(submitted.call_id, timeout_s=1, publish=second)
    assert inner == [True]


def test_waiter_that_leaves_takes_nobody_with_it(mailbox: Mailbox, submitted: services.Submitted):
    def leave_then_reply() -> None:
        assert not mailbox.wait(submitted.call_id, timeout_s=0.01, publish=lambda: None)
        mailbox.notify(str(submitted.call_id))

    assert mailbox.wait(submitted.call_id, timeout_s=1, publish=leave_then_reply)


def test_waiters_are_forgotten_afterwards(mailbox: Mailbox, submitted: services.Submitted):
    mailbox.wait(submitted.call_id, timeout_s=0.01, publish=lambda: None)

    assert mailbox._waiters == {}


def test_lost_reply_is_made_up_for_by_a_look_at_the_row(
    mailbox: Mailbox, submitted: services.Submitted, settings: Any
):
    # A stream that was never heard of: the waiter looks every quarter of a second.
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    started = time.monotonic()

    assert mailbox.wait(submitted.call_id, timeout_s=10, publish=lambda: steps.run(submitted))
    assert 0.2 < time.monotonic() - started < 2


def test_look_is_rarer_while_the_stream_is_heard(mailbox: Mailbox, settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    looks = 0

    def look(_: Any) -> bool:
        nonlocal looks
        looks += 1
        return False

    monkeypatch.setattr(mailbox, "_has_ended", look)
    monkeypatch.setattr(replies, "POLL_SILENT_S", (0.02, 0.02))
    monkeypatch.setattr(replies, "POLL_HEALTHY_S", (10, 10))
    mailbox.wait("call", timeout_s=0.2, publish=lambda: None)
    while_silent = looks
    mailbox._heard_at = time.monotonic()
    mailbox.wait("call", timeout_s=0.2, publish=lambda: None)

    assert while_silent >= 5
    assert looks - while_silent == 1


def test_wait_ends_when_its_time_is_over(mailbox: Mailbox, submitted: services.Submitted):
    started = time.monotonic()

    assert mailbox.wait(submitted.call_id, timeout_s=0.1, publish=lambda: None) is False
    assert 0.09 < time.monotonic() - started < 0.5


def test_call_that_ended_before_the_wait_is_not_waited_for(mailbox: Mailbox, submitted: services.Submitted):
    steps.run(submitted)

    assert mailbox.wait(submitted.call_id, timeout_s=0) is True


def test_answer_at_the_last_moment_is_seen(mailbox: Mailbox, submitted: services.Submitted):
    """The stream is heard (in memory it always is), so the row is looked at only at the end."""
    assert mailbox.wait(submitted.call_id, timeout_s=0.05, publish=lambda: steps.run(submitted)) is True


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_database_that_is_away_for_a_while_sends_nobody_away(
    mailbox: Mailbox,
    submitted: services.Submitted,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Exception],
):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(replies, "POLL_SILENT_S", (0.01, 0.01))
    look, refusals = statements.STILL_OPEN.first, iter(range(3))

    def refuse_first(**values: Any) -> Any:
        if next(refusals, None) is not None:
            raise kind("the database is starting up")
        return look(**values)

    monkeypatch.setattr(statements.STILL_OPEN, "first", refuse_first)

    assert mailbox.wait(submitted.call_id, timeout_s=5, publish=lambda: steps.run(submitted))
    assert next(refusals, None) is None


# --- Places -------------------------------------------------------------------------------------------------


def test_places_for_waiters_leave_threads_for_others(settings: Any):
    settings.WEB_THREADS, settings.WAITING_SHARE = 10, 0.8
    mailbox = Mailbox()
    taken = [mailbox.place() for _ in range(8)]
    for place in taken:
        place.__enter__()

    with pytest.raises(ServerBusy) as caught, mailbox.place():
        pytest.fail("a ninth waiter got in")

    assert (caught.value.code, caught.value.retry_after_s) == ("server_busy", 1)
    for place in taken:
        place.__exit__(None, None, None)
    with mailbox.place():
        pass


@pytest.mark.parametrize("error", [ValueError, ServerBusy, SystemExit])
def test_place_is_given_back_after_an_error(settings: Any, error: type[BaseException]):
    settings.WEB_THREADS, settings.WAITING_SHARE = 1, 0.5
    mailbox = Mailbox()
    for _ in range(3):
        with pytest.raises(error), mailbox.place():
            raise error


def test_place_is_given_back_when_the_database_is_away_at_the_start(settings: Any, monkeypatch: Any):
    settings.WEB_THREADS, settings.WAITING_SHARE = 1, 0.5
    mailbox = Mailbox()

    def away() -> None:
        raise OperationalError("away")

    monkeypatch.setattr(mailbox, "_start", away)
    for _ in range(3):
        with pytest.raises(OperationalError), mailbox.place():
            pytest.fail("somebody got in")


def test_smallest_server_lets_one_wait(settings: Any):
    settings.WEB_THREADS, settings.WAITING_SHARE = 1, 0.8

    with Mailbox().place():
        pass


# --- Who gets what ------------------------------------------------------------------------------------------


def test_reply_to_one_s_own_process_needs_no_redis(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replies, "mailbox", lambda: mailbox)
    woken: list[str] = []
    monkeypatch.setattr(mailbox, "notify", woken.append)

    replies.send(mailbox.name, "call-1")
    replies.send("another process", "call-2")
    replies.send("", "call-3")

    assert woken == ["call-1"]


def test_each_process_has_a_mailbox_of_its_own(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch):
    parent = replies.mailbox()
    assert replies.mailbox() is parent
    monkeypatch.setattr(replies.os, "getpid", lambda: 4_194_305)

    child = replies.mailbox()

    assert child is not parent
    assert child.name != parent.name


def test_failing_redis_is_tried_once_a_second_and_raises_nothing(
    mailbox: Mailbox, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    tries = 0
    make_client = replies._client

    def count(**options: Any) -> redis.Redis:
        client = make_client(**options)
        pipeline = client.pipeline

        def counted(**more: Any) -> Any:
            nonlocal tries
            tries += 1
            return pipeline(**more)

        client.pipeline = counted
        return client

    monkeypatch.setattr(replies, "_client", count)
    for _ in range(5):
        replies.send("another process", "call-1")

    assert tries == 1


# --- This process's own life --------------------------------------------------------------------------------


@pytest.fixture
def one_round(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """One round of the heartbeat."""

    class Once(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            raise Ended

    def end(_: float) -> None:
        raise Ended

    monkeypatch.setattr(mailbox, "_is_owing", Once())
    monkeypatch.setattr(replies.time, "sleep", end)

    def beat() -> None:
        with pytest.raises(Ended):
            mailbox._beat()

    return beat


def test_heartbeat_says_that_the_process_lives(db: None, mailbox: Mailbox, one_round: Callable[[], None]):
    one_round()
    process = Process.objects.get(name=mailbox.name)
    assert process.kind == "web"
    steps.at(process, seen_at=-100)

    one_round()

    assert (clock.db_now() - Process.objects.get(name=mailbox.name).seen_at).total_seconds() < 5


def test_process_that_was_taken_for_dead_says_again_that_it_lives(
    db: None, mailbox: Mailbox, one_round: Callable[[], None]
):
    one_round()
    Process.objects.all().delete()

    one_round()

    assert Process.objects.filter(name=mailbox.name).exists()


def test_heart_beats_on_when_the_database_is_away(
    db: None, mailbox: Mailbox, one_round: Callable[[], None], monkeypatch: pytest.MonkeyPatch
):
    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("away")

    with monkeypatch.context() as patched:
        patched.setattr(Process.objects, "filter", away)
        one_round()

    one_round()
    assert Process.objects.filter(name=mailbox.name).exists()


def test_caller_sent_away_without_the_database_is_remembered(
    mailbox: Mailbox, submitted: services.Submitted, one_round: Callable[[], None]
):
    mailbox.owe(str(submitted.call_id))

    one_round()

    assert Call.objects.get(pk=submitted.call_id).unanswered_at is not None
    assert mailbox._owed == []


def test_process_whose_row_could_not_be_written_tries_again(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.REDIS_URL = ""
    mailbox, started = replies.Mailbox(), []

    class Noted:
        def __init__(self, *, target: Any, name: str, daemon: bool) -> None:
            started.append(name)

        def start(self) -> None:
            pass

    monkeypatch.setattr(replies.threading, "Thread", Noted)

    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("away")

    with monkeypatch.context() as patched:
        patched.setattr(Process.objects, "get_or_create", away)
        with pytest.raises(OperationalError):
            mailbox._start()
    assert started == []

    mailbox._start()
    mailbox._start()

    assert started == ["replies-heartbeat"]
    assert Process.objects.filter(name=mailbox.name, kind="web").exists()


# --- The stream ---------------------------------------------------------------------------------------------


@pytest.fixture
def reading(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Any]], list[str]]:
    """The reader on a stream that gives these batches (or errors) in turn. Returns the calls it woke."""

    def read(batches: list[Any]) -> list[str]:
        woken: list[str] = []
        asked: list[str] = []
        turns = iter(batches)

        class Client:
            def xread(self, streams: dict[str, str], **_: Any) -> Any:
                asked.append(next(iter(streams.values())))
                batch = next(turns, Ended())
                if isinstance(batch, BaseException):
                    raise batch
                return [["stream", batch]] if batch else []

            def close(self) -> None:
                pass

        monkeypatch.setattr(replies, "_client", lambda **_: Client())
        monkeypatch.setattr(replies.time, "sleep", lambda _: None)
        monkeypatch.setattr(mailbox, "notify", woken.append)
        with pytest.raises(Ended):
            mailbox._read()
        read.asked = asked  # type: ignore[attr-defined]
        return woken

    return read


def test_reader_goes_on_after_the_last_message_it_had(reading: Any):
    woken = reading(
        [
            [("1-0", {"calls": "a"}), ("2-0", {"calls": "b c"})],
            redis.ConnectionError("reset"),
            redis.TimeoutError("hung"),
            [("3-0", {"calls": "d"})],
            None,
        ]
    )

    assert woken == ["a", "b", "c", "d"]
    assert reading.asked == ["0", "2-0", "2-0", "2-0", "3-0", "3-0"]


def test_message_of_another_shape_does_not_end_the_reader(reading: Any):
    assert reading([[("1-0", {"other": "x"}), ("2-0", {"calls": "b"})]]) == ["b"]
