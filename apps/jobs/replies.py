"""How a waiting web thread learns that its call has ended: one Redis Stream per web process, or memory.

A reply is a hint that names a call; the answer is read from the database. A stream rather than pub/sub, so that
a reconnect leaves no hole; when Redis is silent the waiter polls the row instead.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import orjson
import redis
from django.conf import settings
from django.db import DatabaseError, InterfaceError, transaction
from django.db.models.functions import Now

from apps.core.db import is_postgresql, release_connection
from apps.core.models import Process
from apps.core.processes import of_this_process
from apps.jobs import statements
from apps.jobs.errors import ServerBusy
from apps.jobs.models import Call

STREAM_MAXLEN = 20_000
STREAM_TTL_S = 3600
HEARTBEAT_S = 5.0
# How long a waiter trusts the stream before it looks at the row itself: short at first when Redis is silent.
POLL_SILENT_S = (0.25, 2.0)
POLL_HEALTHY_S = (2.0, 10.0)
_BLOCK_MS = 500

# In a reader's inbox: its call has ended.
ENDED = object()

log = logging.getLogger("saasllm.replies")


class Mailbox:
    """This process's waiters. Made at first use, so never before a server forks."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._waiters: dict[str, list[threading.Event]] = {}
        self._waiters_lock = threading.Lock()
        self._waiting = threading.BoundedSemaphore(max(1, int(settings.WEB_THREADS * settings.WAITING_SHARE)))
        self._started = False
        self._lock = threading.Lock()
        self._heard_at = 0.0
        self._inboxes: dict[str, list[SimpleQueue[Any]]] = {}
        self._owed: list[str] = []
        self._is_owing = threading.Event()

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places for waiting callers. Raises: ServerBusy, at once, when all are taken."""
        if not self._waiting.acquire(blocking=False):
            raise ServerBusy(retry_after_s=1)
        try:
            # Before a call is admitted: without this process's row nobody would learn that its caller is gone.
            self._start()
            yield
        finally:
            self._waiting.release()

    def wait(self, call_id: Any, *, timeout_s: float, publish: Callable[[], object] | None = None) -> bool:
        """Wait until the call may have ended. False when time ran out first. Holds no database connection meanwhile.

        A late answer of a worker that lost its claim wakes too, so who waits looks at the call afterwards.

        `publish` sends a new call off once its waiter is entered, so that no reply can come too early.
        """
        self._start()
        name = str(call_id)
        event = threading.Event()
        with self._waiters_lock:
            self._waiters.setdefault(name, []).append(event)
        ends_at = time.monotonic() + timeout_s
        pause = 0.0
        try:
            if publish is not None:
                publish()
            elif self._has_ended(call_id):
                return True
            release_connection()
            while True:
                # One who joined a call later may not be told of its end: its worker knows the caller before.
                is_told = publish is not None and self.is_healthy()
                first, most = POLL_HEALTHY_S if is_told else POLL_SILENT_S
                pause = min(max(first, pause * 1.5), most)
                left = ends_at - time.monotonic()
                if event.wait(min(pause, max(left, 0))) or self._has_ended(call_id):
                    return True
                release_connection()
                if left <= pause:
                    return False
        finally:
            with self._waiters_lock:
                self._waiters[name].remove(event)
                if not self._waiters[name]:
                    del self._waiters[name]

    def _has_ended(self, call_id: Any) -> bool:
        try:
            return statements.STILL_OPEN.first(id=call_id) is None
        except (DatabaseError, InterfaceError) as error:
            # The database is away, the call goes on: nobody is sent away for that while there is time to wait.
            log.warning("asking for call %s failed, asking again: %s", call_id, type(error).__name__)
            return False

    def notify(self, call_id: str) -> None:
        """Wake whoever waits here for this call."""
        with self._waiters_lock:
            for event in self._waiters.get(call_id, ()):
                event.set()
            for inbox in self._inboxes.get(call_id, ()):
                inbox.put(ENDED)

    @contextmanager
    def inbox(self, call_id: Any) -> "Iterator[SimpleQueue[Any]]":
        """What comes for one reader of a streamed call: pieces as (claim, number, choices), and ENDED."""
        self._start()
        name, inbox = str(call_id), SimpleQueue[Any]()
        with self._waiters_lock:
            self._inboxes.setdefault(name, []).append(inbox)
        try:
            yield inbox
        finally:
            with self._waiters_lock:
                self._inboxes[name].remove(inbox)
                if not self._inboxes[name]:
                    del self._inboxes[name]

    def deliver(self, call_id: str, claim: int, number: int, choices: list[dict[str, Any]]) -> None:
        """A piece of a streamed call, for its readers here."""
        with self._waiters_lock:
            for inbox in self._inboxes.get(call_id, ()):
                inbox.put((claim, number, choices))

    def owe(self, call_id: str) -> None:
        """A caller was sent away and the database was not there to be told: it is told as soon as it is back."""
        self._owed.append(call_id)
        self._is_owing.set()

    def is_healthy(self) -> bool:
        """Whether the stream was read (even empty) within the last two seconds; always so in memory."""
        return not settings.REDIS_URL or time.monotonic() - self._heard_at < 2.0

    def _start(self) -> None:
        if self._started:
            return
        # Else all of the pool may be with those who wait for the one that needs a connection.
        release_connection()
        with self._lock:
            if self._started:
                return
            Process.objects.get_or_create(name=self.name, defaults={"kind": "web"})
            self._started = True
        threading.Thread(target=self._beat, name="replies-heartbeat", daemon=True).start()
        if settings.REDIS_URL:
            threading.Thread(target=self._read, name="replies-reader", daemon=True).start()

    def _beat(self) -> None:
        """Say that this process lives, so that the sweeper knows whose callers are gone when it does not."""
        while True:
            try:
                if not Process.objects.filter(name=self.name).update(seen_at=Now()):
                    Process.objects.get_or_create(name=self.name, defaults={"kind": "web"})
                self._pay()
            except (DatabaseError, InterfaceError) as error:
                log.warning("heartbeat failed: %s", type(error).__name__)
            finally:
                release_connection()
            if self._owed:
                time.sleep(POLL_SILENT_S[0])
            else:
                self._is_owing.wait(HEARTBEAT_S)

    def _pay(self) -> None:
        self._is_owing.clear()
        owed = list(self._owed)
        if not owed:
            return
        unpaid = Call.objects.filter(pk__in=owed, unanswered_at__isnull=True).order_by("pk")
        with transaction.atomic():
            # Without waiting for one that is being settled just now: a group that ends locks its calls in whatever
            # order.
            locked = list(unpaid.select_for_update(skip_locked=is_postgresql()).values_list("pk", flat=True))
            Call.objects.filter(pk__in=locked).update(unanswered_at=Now())
        left = list(unpaid.values_list("pk", flat=True)) if len(locked) < len(owed) else []
        self._owed[: len(owed)] = [str(call_id) for call_id in left]

    def _take(self, fields: dict[str, str]) -> None:
        """A message of the stream: pieces, or the names of calls that have ended."""
        try:
            for piece in orjson.loads(fields["pieces"]) if "pieces" in fields else ():
                self.deliver(*piece)
        except (ValueError, TypeError):
            # Of another version of ours: the readers notice the hole.
            log.warning("pieces of a stream cannot be read")
        for call_id in fields.get("calls", "").split():
            self.notify(call_id)

    def _read(self) -> None:
        last, key = "0", _stream_key(self.name)
        while True:
            client = _client(socket_timeout_s=settings.REDIS_TIMEOUT_S + _BLOCK_MS / 1000)
            try:
                while True:
                    for _, messages in client.xread({key: last}, count=500, block=_BLOCK_MS) or []:
                        for message_id, fields in messages:
                            last = message_id
                            self._take(fields)
                    self._heard_at = time.monotonic()
            except (redis.RedisError, OSError) as error:
                log.warning("reply stream lost, polling meanwhile: %s", type(error).__name__)
                client.close()
                time.sleep(0.5)


class _Sender:
    """Sends replies to other processes; after a failure it skips for a second, as publishing does."""

    def __init__(self) -> None:
        self._client: Any = None
        self._skip_until = 0.0

    def send(self, told: Sequence[tuple[str, str]]) -> None:
        """Tell processes, each by name, of calls that have ended: one message a process."""
        by_process: dict[str, list[str]] = {}
        for reply_to, call_id in told:
            by_process.setdefault(reply_to, []).append(call_id)
        self._add({reply_to: {"calls": " ".join(calls)} for reply_to, calls in by_process.items()})

    def send_pieces(self, pieces: Sequence[tuple[str, Any]]) -> None:
        """Pieces of streamed calls, to the processes that wait for them."""
        by_process: dict[str, list[Any]] = {}
        for reply_to, piece in pieces:
            by_process.setdefault(reply_to, []).append(piece)
        self._add({reply_to: {"pieces": orjson.dumps(of_it).decode()} for reply_to, of_it in by_process.items()})

    def _add(self, messages: dict[str, dict[str, str]]) -> None:
        if time.monotonic() < self._skip_until:
            return
        if self._client is None:
            self._client = _client(socket_timeout_s=settings.REDIS_TIMEOUT_S)
        try:
            pipeline = self._client.pipeline(transaction=False)
            for reply_to, fields in messages.items():
                key = _stream_key(reply_to)
                pipeline.xadd(key, fields, maxlen=STREAM_MAXLEN, approximate=True)
                pipeline.expire(key, STREAM_TTL_S)
            pipeline.execute()
        except (redis.RedisError, OSError) as error:
            self._skip_until = time.monotonic() + 1.0
            log.warning("reply not sent, the waiter polls: %s", type(error).__name__)


def mailbox() -> Mailbox:
    """This process's mailbox."""
    return of_this_process("mailbox", Mailbox)


def send(reply_to: str, call_id: Any) -> None:
    """Tell the process that waits for a call that it has ended. Never raises."""
    send_many([(reply_to, call_id)])


def send_many(told: Iterable[tuple[str, Any]]) -> None:
    """The same for several calls, in one round trip."""
    elsewhere: list[tuple[str, str]] = []
    for reply_to, call_id in told:
        if reply_to == mailbox().name:
            mailbox().notify(str(call_id))
        elif reply_to and settings.REDIS_URL:
            elsewhere.append((reply_to, str(call_id)))
    if elsewhere:
        of_this_process("sender", _Sender).send(elsewhere)


def send_pieces(pieces: Iterable[tuple[str, tuple[str, int, int, list[dict[str, Any]]]]]) -> None:
    """Send pieces of streamed calls (call, claim, number, choices) to the processes that wait. Never raises."""
    elsewhere = []
    for reply_to, piece in pieces:
        if reply_to == mailbox().name:
            mailbox().deliver(*piece)
        elif settings.REDIS_URL:
            elsewhere.append((reply_to, piece))
    if elsewhere:
        of_this_process("piece sender", _Sender).send_pieces(elsewhere)


def _stream_key(process: str) -> str:
    return f"{settings.REDIS_PREFIX}:replies:{process}"


def _client(*, socket_timeout_s: float) -> Any:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        decode_responses=True,
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=settings.REDIS_TIMEOUT_S,
        health_check_interval=10,
    )
