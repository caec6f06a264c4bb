"""Customers who do what they planned and ask again when they get no answer, as sane code does.

Each operation leaves what was asked and what was seen in a history, for the checker to hold against the ledger.
"""

import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import requests

from tests.chaos.plan import SLOW_MODEL, PlannedCall, PlannedJob
from tests.harness.faults import CANARY_HOST, CANARY_SECRET
from tests.services.customer import Customer

CALL_TRIES = 20
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
# Past the server's own wait, so that most give up only when the server is gone.
TIMEOUT_S = 35.0
HASTY_SHARE, HASTY_TIMEOUT_S = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; status 0 when nothing did, so that nobody knows whether it was done."""

    status: int
    body: dict[str, Any]

    @property
    def code(self) -> str:
        return str(self.body.get("code", ""))

    @property
    def call_has_failed(self) -> bool:
        """Whether it is the end of a call, not of a wait for one."""
        return self.status >= 400 and "call_id" in self.body and self.code != "call_still_running"


@dataclass(slots=True)
class Answer:
    """A call that a customer saw answered."""

    call_id: str
    job_id: str
    content: str


@dataclass(slots=True)
class Completion:
    """A job's costs as its customer saw them."""

    job_id: str
    team_id: str
    verdict: str
    credit_applied: bool
    credits_charged: str
    charge_pending: bool


@dataclass
class History:
    """What all customers saw. Filled by many threads."""

    answers: list[Answer] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    # Which calls each idempotency key stood for.
    calls_by_key: dict[str, set[str]] = field(default_factory=dict)
    # What no fault explains.
    anomalies: list[str] = field(default_factory=list)
    given_up: int = 0
    _events: list[dict[str, Any]] = field(default_factory=list)

    def note(self, event: str, **fields: Any) -> None:
        self._events.append({"at": round(time.time(), 3), "event": event, **fields})

    def write(self, path: Path) -> None:
        """One JSON line an operation's begin or end, oldest first."""
        path.write_text("".join(json.dumps(event) + "\n" for event in self._events))


class Customers:
    """All customers of a run, so many at a time."""

    def __init__(self, customers: dict[str, Customer], *, seed: int, may_begin: Callable[[float], bool]) -> None:
        self.history = History()
        self.calls_done = 0
        self._customers = customers
        self._seed = seed
        self._may_begin = may_begin
        self._is_over = threading.Event()
        self._extra = itertools.count(1_000_000)

    def run(self, jobs: list[PlannedJob], *, clients: int, until: float) -> bool:
        """Do all jobs. Whether they were done by that instant of the monotonic clock."""
        with ThreadPoolExecutor(max_workers=clients, thread_name_prefix="client") as pool:
            done = [pool.submit(self._do_or_end_all, job) for job in jobs]
            for future in done:
                while not future.done() and time.monotonic() < until:
                    self._is_over.wait(0.05)
                if not future.done():
                    self._is_over.set()
            for future in done:
                future.result()
        return not self._is_over.is_set()

    def ask_slowly(self) -> None:
        """A call beyond the plan that takes long, for somebody who wants to meet one."""
        call = PlannedCall(f"Slow question {next(self._extra)}", SLOW_MODEL)
        job = PlannedJob(next(self._extra), 0, next(iter(self._customers)), [call], is_one_request=True)
        self._call(job, call, 0, None, random.Random(job.number))

    def _do_or_end_all(self, job: PlannedJob) -> None:
        try:
            self._do(job)
        except BaseException:
            # Without this one's progress the others would wait for their turn until time is up.
            self._is_over.set()
            raise

    def _do(self, job: PlannedJob) -> None:
        while not self._may_begin(job.progress):
            if self._is_over.wait(0.05):
                return
        draw = random.Random(f"{self._seed}-{job.number}")
        customer = self._customers[job.team_id]
        if job.is_one_request:
            self._call(job, job.calls[0], 0, None, draw)
            self.calls_done += 1
            return
        opened = self._until_status(
            lambda: customer.request(
                "POST",
                "/jobs/create",
                {"team_id": job.team_id, "job_type": "chaos"},
                timeout_s=TIMEOUT_S,
                headers=_headers(_key(job, "create")),
            ),
            what=f"create {job.number}",
            draw=draw,
        )
        if opened is None:
            return
        job_id: str = opened.body["job_id"]
        self.history.jobs.append(job_id)
        for index, call in enumerate(job.calls):
            self._call(job, call, index, job_id, draw)
            self.calls_done += 1
        if job.is_completed_twice:
            with ThreadPoolExecutor(max_workers=2) as pair:
                for done in [pair.submit(self._complete, job, job_id, draw) for _ in range(2)]:
                    done.result()
        else:
            self._complete(job, job_id, draw)

    def _call(self, job: PlannedJob, call: PlannedCall, index: int, job_id: str | None, draw: random.Random) -> None:
        """Ask until there is an answer. The same request while nobody knows; a new one once the call has failed."""
        pause_s, number = FIRST_PAUSE_S, 0
        for _ in range(CALL_TRIES):
            key = _key(job, f"{index}-{number}")
            self.history.note("call", job=job_id, text=call.text, key=key)
            reply = self._ask(partial(self._send_call, job, call, job_id, draw, key))
            self.history.note("called", job=job_id, text=call.text, status=reply.status, code=reply.code)
            self._remember(job, call, key, reply)
            if reply.status == 200:
                return
            if reply.call_has_failed:
                if reply.status == 400:
                    return
                number += 1
            elif reply.status not in (0, 429, 500, 503):
                self.history.anomalies.append(f"call {call.text}: {reply.status} {reply.body}")
                return
            if self._is_over.wait(pause_s * draw.uniform(0.5, 1)):
                return
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        self.history.given_up += 1

    def _send_call(
        self, job: PlannedJob, call: PlannedCall, job_id: str | None, draw: random.Random, key: str | None
    ) -> requests.Response:
        body: dict[str, Any] = {"messages": [{"role": "user", "content": call.text}], "max_tokens": 100}
        if call.model is not None:
            body["model"] = call.model
        path = f"/jobs/{job_id}/llm-call"
        if job_id is None:
            path = "/jobs/create-and-call"
            body |= {"team_id": job.team_id, "job_type": "chaos"}
        timeout_s = HASTY_TIMEOUT_S if draw.random() < HASTY_SHARE else TIMEOUT_S
        return self._customers[job.team_id].request("POST", path, body, timeout_s=timeout_s, headers=_headers(key))

    def _remember(self, job: PlannedJob, call: PlannedCall, key: str | None, reply: Reply) -> None:
        if key is not None and "call_id" in reply.body:
            self.history.calls_by_key.setdefault(key, set()).add(reply.body["call_id"])
        if reply.status != 200:
            return
        content = reply.body["response"]["content"]
        self.history.answers.append(Answer(reply.body["call_id"], reply.body["job_id"], content))
        if not content.endswith(call.text):
            self.history.anomalies.append(f"{call.text!r} was answered with {content!r}")
        if "costs" in reply.body:
            self._completed(job, reply)

    def _complete(self, job: PlannedJob, job_id: str, draw: random.Random) -> None:
        customer = self._customers[job.team_id]
        self.history.note("complete", job=job_id, verdict=job.verdict)
        reply = self._until_status(
            lambda: customer.request(
                "POST", f"/jobs/{job_id}/complete", {"status": job.verdict}, timeout_s=TIMEOUT_S
            ),
            what=f"complete {job_id}",
            draw=draw,
        )
        if reply is not None:
            self._completed(job, reply)

    def _completed(self, job: PlannedJob, reply: Reply) -> None:
        costs = reply.body["costs"]
        completion = Completion(
            job_id=reply.body["job_id"],
            team_id=job.team_id,
            verdict=reply.body["status"],
            credit_applied=costs["credit_applied"],
            credits_charged=costs["credits_charged"],
            charge_pending=costs["charge_pending"],
        )
        self.history.completions.append(completion)
        self.history.note("completed", **asdict(completion))

    def _until_status(self, send: Callable[[], requests.Response], *, what: str, draw: random.Random) -> Reply | None:
        """Ask the same until it is answered with 200; None when the run ends before."""
        pause_s = FIRST_PAUSE_S
        while not self._is_over.is_set():
            reply = self._ask(send)
            if reply.status == 200:
                return reply
            if reply.status not in (0, 500, 503):
                self.history.anomalies.append(f"{what}: {reply.status} {reply.body}")
                return None
            self._is_over.wait(pause_s * draw.uniform(0.5, 1))
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        return None

    def _ask(self, send: Callable[[], requests.Response]) -> Reply:
        try:
            response = send()
        except requests.RequestException:
            return Reply(0, {})
        if CANARY_SECRET in response.text or CANARY_HOST in response.text:
            self.history.anomalies.append(f"a provider's secret or host reached a customer: {response.text[:200]}")
        try:
            body = response.json()
        except requests.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            self.history.anomalies.append(f"an answer that is no JSON object: {response.status_code}")
            return Reply(response.status_code, {})
        return Reply(response.status_code, body)


def _key(job: PlannedJob, operation: str) -> str | None:
    """The idempotency key of an operation, for those customers that send one."""
    return f"job-{job.number}-{operation}" if job.is_keyed else None


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Idempotency-Key": key}
