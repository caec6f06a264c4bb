"""Everything that goes wrong while customers work: processes die or stall, messages are lost, lines are cut.

Some of it goes on all the time; the rest happens at given points of the run's progress, and customers may not run
ahead of it, so that a short run sees the whole of it too.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import redis

from tests.chaos.plan import SLOW_MODEL
from tests.harness.processes import NotReady, Process
from tests.services.stack import LEASE_S, QUEUE, Stack, wait_until

KILL_EVERY_S = 2.0
WORKERS = 2
HANG_S = 3.0
# How long a stalled worker's call may take to be taken over, and how often to look for a call to stall.
STALL_MOST_S = LEASE_S + 6.0
LOOKS = 200
# How far, as a part of the run, customers may be ahead of the next thing that happens.
LEAD = 0.3


class Storm:
    """What happens to a stack. `start`, let customers work, `stop`: then all runs and nothing is in the way."""

    def __init__(
        self, stack: Stack, *, seed: int, progress: Callable[[], float], ask_slowly: Callable[[], object]
    ) -> None:
        """`progress` is the part of the run that is done; `ask_slowly` makes a call that takes long."""
        self.done: Counter[str] = Counter()
        self._stack = stack
        self._progress = progress
        self._ask_slowly = ask_slowly
        self._draw = random.Random(seed)
        with ThreadPoolExecutor() as pool:
            web, beat = pool.submit(stack.start_web), pool.submit(stack.start_beat)
            workers = [pool.submit(stack.start_worker) for _ in range(WORKERS)]
        self.web, self._beat = web.result(), beat.result()
        # Those that may be killed, oldest first; a stalled one is not among them.
        self._ready: list[Process] = [worker.result() for worker in workers]
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._begun = 0.0
        self._helpers: list[threading.Thread] = []
        self._threads = [
            threading.Thread(target=run, name=run.__name__) for run in (self._kill_workers, self._disturb_messages)
        ]
        self._acts: list[tuple[float, Callable[[], None]]] = [
            (0.05, self._cut_postgres),
            (0.10, self._stall_a_worker),
            (0.20, self._kill_web),
            (0.30, self._hang_redis),
            (0.40, self._cut_postgres),
            (0.45, self._empty_redis),
            (0.50, self._stall_a_worker),
            (0.60, self._kill_web),
            (0.70, self._kill_beat),
            (0.80, self._cut_postgres),
            (0.85, self._empty_redis),
        ]
        self._threads.append(threading.Thread(target=self._act, name="acts"))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End it: every process runs, no line is broken."""
        self._is_over.set()
        for thread in [*self._threads, *self._helpers]:
            thread.join()
        self._stack.redis_mode("pass")

    def may_begin(self, progress: float) -> bool:
        """Whether a customer at this point of the run would not run ahead of what is to happen."""
        return progress <= self._begun + LEAD

    def _act(self) -> None:
        for at, act in self._acts:
            while self._progress() < at:
                if self._is_over.wait(0.05):
                    return
            act()
            self._begun = at
        self._begun = 1.0

    def _kill_workers(self) -> None:
        while not self._is_over.wait(KILL_EVERY_S):
            with self._lock:
                # Only when another is ready to go on.
                victim = self._ready.pop(0) if len(self._ready) > 1 else None
            if victim is not None:
                self._stack.kill(victim)
                self.done["kill_worker"] += 1
                self._replace()

    def _replace(self) -> None:
        """Start a worker beside what goes on."""
        self._beside(self._start_worker)

    def _beside(self, do: Callable[[], object]) -> None:
        thread = threading.Thread(target=do, name="beside-the-storm")
        self._helpers.append(thread)
        thread.start()

    def _start_worker(self) -> None:
        worker = self._persist(self._stack.start_worker)
        with self._lock:
            self._ready.append(worker)

    def _persist(self, start: Callable[[], Process]) -> Process:
        """Start a process; again when it did not come up in the storm, as a supervisor does."""
        while True:
            try:
                return start()
            except NotReady:
                self.done["failed_start"] += 1
                if self._is_over.is_set():
                    raise

    def _stall_a_worker(self) -> None:
        """Stop one in the middle of a call, as a frozen machine does, and let it go on when another has the call.

        That is when its late answer could do harm, were it believed.
        """
        for _ in range(WORKERS):
            self._beside(self._ask_slowly)
        call_id, stalled = self._wait_for_long_call()
        if stalled is None:
            return
        self.done["stall_worker"] += 1
        os.killpg(stalled.pid, signal.SIGSTOP)
        self._replace()
        taken_over = "SELECT claim > 1 AND state = 'running' OR ended_at IS NOT NULL FROM jobs_call WHERE id = %s"
        with suppress(TimeoutError):
            wait_until(lambda: self._stack.value(taken_over, call_id), timeout_s=STALL_MOST_S)
        os.killpg(stalled.pid, signal.SIGCONT)
        # Time to try to settle what it had.
        self._is_over.wait(1.0)
        with self._lock:
            self._ready.append(stalled)

    def _wait_for_long_call(self) -> tuple[object, Process | None]:
        """A call that has just begun and takes long, and its worker, which nobody else kills from now on."""
        just_begun = (
            "SELECT id, claimed_by FROM jobs_call WHERE state = 'running' AND claim = 1 AND provider_model = %s"
            " AND started_at > now() - interval '0.7 s'"
        )
        for _ in range(LOOKS):
            for call_id, claimed_by in self._stack.rows(just_begun, SLOW_MODEL):
                with self._lock:
                    for worker in self._ready:
                        # Host, process id and a random part.
                        if claimed_by.split("-")[-2] == str(worker.pid):
                            self._ready.remove(worker)
                            return call_id, worker
            if self._is_over.wait(0.05):
                break
        return None, None

    def _kill_web(self) -> None:
        port = self.web.port or 0
        self._stack.kill(self.web)
        self.done["kill_web"] += 1
        self.web = self._persist(lambda: self._stack.start_web(port=port))

    def _kill_beat(self) -> None:
        self._stack.kill(self._beat)
        self.done["kill_beat"] += 1
        self._beat = self._persist(self._stack.start_beat)

    def _hang_redis(self) -> None:
        self._stack.redis_mode("hang")
        self.done["hang_redis"] += 1
        self._is_over.wait(HANG_S)
        self._stack.redis_mode("pass")

    def _empty_redis(self) -> None:
        self._stack.redis().flushdb()
        self.done["empty_redis"] += 1

    def _cut_postgres(self) -> None:
        self.done["cut_connection"] += self._stack.cut_postgres()

    def _disturb_messages(self) -> None:
        """Take messages from the queue as a worker does, and drop them, send them twice, or late."""
        client = self._stack.redis()
        while not self._is_over.is_set():
            with suppress(redis.RedisError):
                taken = client.brpop([QUEUE], timeout=0.2)
                if taken is None:
                    continue
                message = taken[1]
                fate = self._draw.choice(("drop", "repeat", "delay"))
                if fate == "repeat":
                    client.lpush(QUEUE, message, message)
                elif fate == "delay":
                    time.sleep(0.3)
                    client.lpush(QUEUE, message)
                self.done[f"{fate}_message"] += 1
            self._is_over.wait(self._draw.uniform(0.05, 0.3))
        client.close()
