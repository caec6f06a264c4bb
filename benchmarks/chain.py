"""The call path step by step in one process, each step by the product's own function.

A program of its own, started by `benchmarks.steps` with the settings of a running system. Invariant: a step's
figures are those of this thread and of its one database connection alone.
"""

import cProfile
import json
import pstats
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import django

django.setup()

from django.db import connection  # noqa: E402  (models exist only once Django is set up)

from apps.api import present  # noqa: E402
from apps.core.db import release_connection  # noqa: E402
from apps.credits import billing  # noqa: E402
from apps.jobs import asking, dispatch, execution, lifecycle, replies, services  # noqa: E402
from apps.jobs.models import Call, Job  # noqa: E402
from apps.teams.models import Team  # noqa: E402
from apps.virtual_keys import services as virtual_keys  # noqa: E402
from saasllm.wsgi import application  # noqa: E402

# Another process's mailbox: the reply goes through Redis, as between a worker and web.
_ELSEWHERE = "another-process"
_COUNTED_RUNS_MAX = 15
_MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant. Answer in one short paragraph."},
    {"role": "user", "content": "What is Python used for?"},
]
_SHOWN = 30
_NOTE = (
    "ms is the median by the clock, CPU a mean. Steps are functions; POST and GET are whole requests through WSGI in"
    " one thread. The worker of POST llm-call runs beside it on the same connection, so that its round trips and"
    " PostgreSQL's CPU are those of both."
)


@dataclass(slots=True)
class Figures:
    """What each run of a step took: milliseconds by the clock, of our CPU, of its backend's CPU."""

    wall_ms: list[float] = field(default_factory=list)
    own_cpu_ms: list[float] = field(default_factory=list)
    backend_cpu_ms: list[float] = field(default_factory=list)
    statements: list[int] = field(default_factory=list)
    round_trips: list[int] = field(default_factory=list)


class Meter:
    """Measures a step, or counts what it asks of the database: counting costs time, so never both at once."""

    def __init__(self, *, is_counting: bool) -> None:
        self.figures: dict[str, Figures] = defaultdict(Figures)
        self.profiles: dict[str, cProfile.Profile] = {}
        self._is_counting = is_counting
        self._is_profiling = False

    def profile(self) -> None:
        self._is_profiling = True

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        # As a request or a task begins: without a connection, the pool has one.
        release_connection()
        if self._is_counting:
            with self._counted(self.figures[name]):
                yield
        elif self._is_profiling:
            # CPU instead of the clock: what a step waits for is another process's cost.
            profile = self.profiles.setdefault(name, cProfile.Profile(time.thread_time))
            profile.enable()
            try:
                yield
            finally:
                profile.disable()
        else:
            with self._timed(self.figures[name]):
                yield

    @contextmanager
    def _timed(self, figures: Figures) -> Iterator[None]:
        backend = _backend_clock()
        release_connection()
        before = time.perf_counter(), time.thread_time(), time.clock_gettime(backend)
        yield
        after = time.perf_counter(), time.thread_time(), time.clock_gettime(backend)
        wall_s, own_s, backend_s = (end - start for start, end in zip(before, after, strict=True))
        figures.wall_ms.append(wall_s * 1000)
        figures.own_cpu_ms.append(own_s * 1000)
        figures.backend_cpu_ms.append(backend_s * 1000)

    @contextmanager
    def _counted(self, figures: Figures) -> Iterator[None]:
        """Statements by Django's account; round trips by the driver's: BEGIN and COMMIT are some too."""
        statements = 0

        def count(execute: Callable[..., Any], *arguments: Any) -> Any:
            nonlocal statements
            statements += 1
            return execute(*arguments)

        connection.ensure_connection()
        driver = connection.connection.pgconn
        release_connection()
        with tempfile.TemporaryFile() as trace:
            driver.trace(trace.fileno())
            with connection.execute_wrapper(count):
                yield
            driver.untrace()
            trace.seek(0)
            figures.round_trips.append(trace.read().count(b"ReadyForQuery"))
        figures.statements.append(statements)


def _backend_clock() -> int:
    """The CPU clock of this connection's server process, see clock_getcpuclockid(3)."""
    connection.ensure_connection()
    pid: int = connection.connection.info.backend_pid
    return (~pid << 3) | 2


def run_chain(meter: Meter, secret: str, team_id: str) -> None:
    """One job through all steps: a call of which each is measured, then two more, then its completion."""
    with meter.step("for scale: one row by the ORM"):
        Team.objects.get(team_id=team_id)
    virtual_keys.forget_cached()
    with meter.step("authenticate"):
        principal = virtual_keys.authenticate(secret)
    with meter.step("authenticate, cached"):
        virtual_keys.authenticate(secret)
    with meter.step("create"):
        job, _ = services.open_job(principal, services.NewJob("bench"))
    with meter.step("admit"):
        submitted = _submit(principal, job, "first")
    with meter.step("publish"):
        dispatch.publish([submitted.call_id])
    with meter.step("claim"):
        (claimed,) = execution._claim_together([str(submitted.call_id)])
    with meter.step("ask the provider"):
        outcome = asking.ask(claimed)
    assert outcome.state == Call.State.SUCCEEDED, outcome
    with meter.step("settle"):
        assert lifecycle.end_calls([lifecycle.End(claimed.call, outcome)]) == [True]
    with meter.step("reply"):
        replies.send(_ELSEWHERE, submitted.call_id)
    with meter.step("wait, answer"):
        _answer(principal, submitted)
    second = _submit(principal, job, "second")
    with meter.step("admit, later call of a job"):
        third = _submit(principal, job, "third")
    for later in (second, third):
        assert execution.run_call(str(later.call_id))
    with meter.step("complete"):
        _complete(principal, job)


def _submit(principal: virtual_keys.Principal, job: Job, what: str) -> services.Submitted:
    request = services.CallRequest(body={"messages": _MESSAGES}, fingerprint=f"{job.pk}:{what}")
    return services.submit_call(principal, request, job_id=str(job.pk), wait_s=28, reply_to=_ELSEWHERE)


def _answer(principal: virtual_keys.Principal, submitted: services.Submitted) -> None:
    """What web does once the reply is there; it comes at once here, so that no waiting is measured."""
    mailbox = replies.mailbox()
    mailbox.wait(submitted.call_id, timeout_s=28, publish=lambda: mailbox.notify(str(submitted.call_id)))
    call = services.find_call(principal.team, str(submitted.job_id), str(submitted.call_id))
    present.answer(call)


def _complete(principal: virtual_keys.Principal, job: Job) -> None:
    done, _ = services.complete_job(principal.team, job_id=str(job.pk), verdict="completed", closed_by="bench")
    calls = list(Call.objects.filter(job=done).order_by("created_at", "id"))
    show_costs = billing.shows_costs(principal.team)
    present.completion(done, calls, billing.balance(principal.team), show_costs=show_costs)


def run_requests(meter: Meter, secret: str, team_id: str) -> None:
    """The same as whole requests through WSGI, for what middlewares, REST framework and parsing add."""
    with meter.step("GET /health"):
        _request("GET", "/health", secret)
    with meter.step("POST create"):
        job_id = _request("POST", "/api/jobs/create", secret, {"team_id": team_id, "job_type": "bench"})["job_id"]
    with _worker_beside(), meter.step("POST llm-call"):
        _request("POST", f"/api/jobs/{job_id}/llm-call", secret, {"messages": _MESSAGES})
    with meter.step("POST complete"):
        _request("POST", f"/api/jobs/{job_id}/complete", secret, {"status": "completed"})


@contextmanager
def _worker_beside() -> Iterator[None]:
    """Instead of publishing to a worker, run the call in a thread, whose cost is not this thread's."""
    original = dispatch.publish_new

    def publish(call_id: Any) -> None:
        threading.Thread(target=_run_call, args=(str(call_id),)).start()

    dispatch.publish_new = publish
    try:
        yield
    finally:
        dispatch.publish_new = original


def _run_call(call_id: str) -> None:
    execution.run_call(call_id)
    release_connection()


def _request(method: str, path: str, secret: str, body: dict[str, Any] | None = None) -> Any:
    content = json.dumps(body).encode() if body else b""
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(content)),
        "HTTP_HOST": "127.0.0.1",
        "HTTP_AUTHORIZATION": f"Bearer {secret}",
        "wsgi.input": BytesIO(content),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    status = ""

    def start_response(given: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        nonlocal status
        status = given

    response = application(environ, start_response)
    answer = b"".join(response)
    response.close()
    assert status.startswith("200"), (path, status, answer)
    return json.loads(answer)


def main(runs: int, secret: str, team_id: str, *, is_profiling: bool) -> None:
    timed, counting = Meter(is_counting=False), Meter(is_counting=True)
    for meter, times in ((Meter(is_counting=False), max(3, runs // 5)), (counting, min(runs + 2, _COUNTED_RUNS_MAX))):
        for _ in range(times):
            run_chain(meter, secret, team_id)
            run_requests(meter, secret, team_id)
    if is_profiling:
        timed.profile()
    for _ in range(runs):
        run_chain(timed, secret, team_id)
        run_requests(timed, secret, team_id)
    if is_profiling:
        for name, profile in timed.profiles.items():
            print(f"\n## {name}: {runs} runs, CPU seconds of this thread")
            pstats.Stats(profile).strip_dirs().sort_stats("cumulative").print_stats(_SHOWN)
        return
    print("| step | statements | round trips | ms | CPU ms | PostgreSQL CPU ms |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, figures in timed.figures.items():
        counted = counting.figures[name]
        medians = [statistics.median(values) for values in (counted.statements, counted.round_trips)]
        shown = [f"{value:.0f}" for value in medians]
        shown.append(f"{statistics.median(figures.wall_ms):.2f}")
        # A mean: the backend's clock lags, so that single runs borrow from the next.
        shown += [f"{statistics.fmean(values):.2f}" for values in (figures.own_cpu_ms, figures.backend_cpu_ms)]
        print(f"| {name} | {' | '.join(shown)} |")
    print(f"\n{_NOTE}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], is_profiling="--profile" in sys.argv)
