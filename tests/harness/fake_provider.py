"""An OpenAI-compatible provider that is fast, honest about tokens, and misbehaves on request.

A fault comes from the model's name (`fake-429`, `fake-slow-250`, …; see faults.py) or, for other names, from seed
and rate: the n-th execution meets the n-th draw. Streams can drip (`fake-drip-20`: ms between events), be cut
(`fake-cut-3`: a reset after so many events) or both (`fake-drip-20-cut-3`), and end in an error event
(`fake-stream-error`). `fake-able` calls tools, fills schemas and tells logprobs (able_answers.py). Runs as a process
(`python -m tests.harness.fake_provider`), which prints its URL when ready, or in a thread (`running_provider`).
Its own asyncio protocol, since a framework would cost more than the product it serves.
"""

# ruff: noqa: T201 - it is a program too, and talks to its caller by printing.

import argparse
import asyncio
import json
import random
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.harness import able_answers, fake_streams, faults
from tests.harness.executions import Execution, Journal
from tests.harness.fake_streams import Event, Play, Script

_COMPLETION_PATHS = frozenset({b"/v1/chat/completions", b"/chat/completions"})
_EMBEDDING_PATHS = frozenset({b"/v1/embeddings", b"/embeddings"})
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}
_MAX_HEAD_BYTES = 65_536
# Latency, time between events, a cut and a pause, with figures.
_TIMING = re.compile(r"(slow|drip|cut|hold)-(\d+)")
_TIMINGS = re.compile(rf"{_TIMING.pattern}(-{_TIMING.pattern})*")
_ODD_FAULTS = frozenset({"timeout", "stream-error"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How a provider treats models that name no fault of their own."""

    seed: int = 0
    fault_rate: float = 0.0
    # What the rate draws from: `timeout`, `stream-error` and `cut-3` too, when they are named here.
    faults: Sequence[str] = tuple(faults.FAULTS)
    latency_ms: float = 0.0
    # After how long `fake-timeout` answers after all.
    timeout_s: float = 60.0
    # Tell the price as LiteLLM's proxy does, in `x-litellm-response-cost`.
    has_cost_header: bool = False

    def __post_init__(self) -> None:
        unknown = {name for name in self.faults if name not in {*faults.FAULTS, *_ODD_FAULTS}}
        if unknown := {name for name in unknown if not _TIMINGS.fullmatch(name)}:
            raise ValueError(f"unknown faults: {sorted(unknown)}")


@dataclass(slots=True)
class Plan:
    """An answer, after how many seconds it is sent (None: when `release` is called), and as which stream, if any."""

    answer: faults.Answer
    delay_s: float | None
    script: Script | None = None


class Provider:
    """The state that all connections share; used by the event loop's thread alone, but for the journal."""

    def __init__(self, *, behaviour: Behaviour, journal: Journal) -> None:
        self.behaviour = behaviour
        self.journal = journal
        self.connections: set[_Connection] = set()
        self._random = random.Random(behaviour.seed)
        self._number = 0
        self._held: list[Callable[[], None]] = []

    def plan(self, request: dict[str, Any], *, is_embedding: bool) -> Plan:
        """How to answer `request`."""
        self._number += 1
        draw, choice = self._random.random(), self._random.random()
        name = request["model"].rsplit("/", 1)[-1]
        kind = ""
        if name.startswith("fake-"):
            kind = name.removeprefix("fake-")
        elif draw < self.behaviour.fault_rate:
            kind = self.behaviour.faults[int(choice * len(self.behaviour.faults))]
        timings: dict[str, int] = {}
        if _TIMINGS.fullmatch(kind):
            timings = {what: int(figure) for what, figure in _TIMING.findall(kind)}
            kind = ""
        if kind not in ("", "ok", "hold", "tools", "able", *_ODD_FAULTS, *faults.FAULTS):
            # A misspelt fault must not pass as an honest model.
            error = faults.error("unknown-model", status=404, kind="invalid_request_error", code="model_not_found")
            return Plan(error, delay_s=0.0)
        if is_embedding:
            answer = faults.embeddings(request, number=self._number)
        elif kind == "tools":
            answer = faults.tools(request, number=self._number)
        elif kind == "able":
            answer = able_answers.able(request, number=self._number)
        else:
            answer = faults.honest(request, number=self._number)
        plan = Plan(answer, delay_s=self.behaviour.latency_ms / 1000)
        if "slow" in timings:
            plan.delay_s = timings["slow"] / 1000
        if kind == "timeout":
            plan.answer, plan.delay_s = faults.broken(answer, outcome="timeout"), self.behaviour.timeout_s
        if kind == "hold":
            plan.delay_s = None
        if request.get("stream") and not is_embedding and kind not in fake_streams.REFUSALS:
            script = fake_streams.script(request, plan.answer, kind=kind, has_cost=self.behaviour.has_cost_header)
            if "cut" in timings:
                script = fake_streams.cut(script, timings["cut"])
            plan.answer = script.answer
            plan.script = replace(script, drip_s=timings.get("drip", 0) / 1000, hold_after=timings.get("hold"))
        elif "hold" in timings:
            plan.delay_s = None
        elif kind == "stream-error":
            plan.answer = faults.FAULTS["200-error"](answer)
        elif "cut" in timings:
            plan.answer = faults.FAULTS["reset"](answer)
        elif kind in faults.FAULTS:
            plan.answer = faults.FAULTS[kind](answer)
        return plan

    def hold(self, send: Callable[[], None]) -> None:
        self._held.append(send)

    def release(self) -> None:
        """Answer all that `fake-hold` holds back, and go on with streams that pause."""
        held, self._held = self._held, []
        for send in held:
            send()


class _Connection(asyncio.Protocol):
    """One client connection: a request at a time, later ones wait in the buffer."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._buffer = bytearray()
        self._head: bytes | None = None
        self._body_bytes = 0
        self._is_busy = False
        self._play: Play | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._provider.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._provider.connections.discard(self)
        if self._play is not None:
            self._play.leave()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def abort(self) -> None:
        self._transport.abort()

    def _next(self) -> None:
        while not self._is_busy and not self._transport.is_closing():
            if self._head is None:
                end = self._buffer.find(b"\r\n\r\n")
                if end < 0:
                    if len(self._buffer) > _MAX_HEAD_BYTES:
                        self._transport.abort()
                    return
                self._head = bytes(self._buffer[: end + 2])
                del self._buffer[: end + 4]
                self._body_bytes = int(_header(self._head, b"content-length") or 0)
            if len(self._buffer) < self._body_bytes:
                return
            head, body = self._head, bytes(self._buffer[: self._body_bytes])
            del self._buffer[: self._body_bytes]
            self._head = None
            self._serve(head, body)

    def _serve(self, head: bytes, body: bytes) -> None:
        method, target, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
        path = target.split(b"?", 1)[0]
        if method == b"POST" and path in _COMPLETION_PATHS:
            self._execute(head, body)
        elif method == b"POST" and path in _EMBEDDING_PATHS:
            self._execute(head, body, is_embedding=True)
        elif method == b"POST" and path == b"/release":
            self._provider.release()
            self._send_json({"status": "released"})
        elif method == b"GET" and path.startswith(b"/health"):
            self._send_json({"status": "ok"})
        else:
            self._send(faults.error("unknown-path", status=404, kind="invalid_request_error"))

    def _execute(self, head: bytes, body: bytes, *, is_embedding: bool = False) -> None:
        try:
            request = json.loads(body)
            model = request["model"]
            is_asked_properly = isinstance(model, str)
        except (ValueError, KeyError, TypeError):
            is_asked_properly = False
        if not is_asked_properly:
            self._send(faults.error("bad-request", status=400, kind="invalid_request_error"))
            return
        execution = self._provider.journal.start(
            call_id=_header(head, b"x-saasllm-call-id"),
            attempt_id=_header(head, b"x-saasllm-attempt-id"),
            model=model,
        )
        plan = self._provider.plan(request, is_embedding=is_embedding)
        if plan.delay_s == 0 and plan.script is None:
            self._finish(execution, plan.answer)
            return
        self._is_busy = True

        def go_on() -> None:
            if plan.script is None:
                self._finish(execution, plan.answer)
            else:
                self._start(execution, plan.script)

        if plan.delay_s is None:
            self._provider.hold(go_on)
        elif plan.delay_s == 0:
            go_on()
        else:
            asyncio.get_running_loop().call_later(plan.delay_s, go_on)

    def _start(self, execution: Execution, script: Script) -> None:
        """Stream it, and bill what was sent: a client that has gone pays for what it got, as with real providers."""

        def ended(sent: list[Event], is_gone: bool) -> None:
            text = "".join(event.text for event in sent)
            is_whole = not script.answer.may_fail and not is_gone
            answer = script.answer
            if not is_whole:
                answer = replace(answer, completion_tokens=min(faults.count_tokens(text), answer.completion_tokens))
            execution.chunks_sent = sum(event.is_chunk for event in sent)
            execution.characters_sent = len(text)
            execution.is_client_gone = is_gone
            self._end(execution, answer, is_delivered=not is_gone)

        self._play = Play(script, self._transport, hold=self._provider.hold, on_end=ended, on_over=self._over)
        self._play.start()

    def _finish(self, execution: Execution, answer: faults.Answer) -> None:
        """Bill and answer. A client that has gone is billed too, as real providers do."""
        self._end(execution, answer, is_delivered=not self._transport.is_closing())
        if execution.is_delivered:
            self._send(answer)
        if self._is_busy:
            self._over()

    def _end(self, execution: Execution, answer: faults.Answer, *, is_delivered: bool) -> None:
        execution.outcome = answer.outcome
        execution.may_fail = answer.may_fail
        execution.is_delivered = is_delivered
        execution.billed_prompt_tokens = answer.prompt_tokens
        execution.billed_completion_tokens = answer.completion_tokens
        execution.billed_nanousd = answer.nanousd
        self._provider.journal.end(execution)

    def _over(self) -> None:
        self._is_busy = False
        self._play = None
        self._next()

    def _send_json(self, body: dict[str, str]) -> None:
        self._send(faults.Answer(outcome="", status=200, body=json.dumps(body).encode()))

    def _send(self, answer: faults.Answer) -> None:
        lines = [
            f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Error')}",
            f"content-type: {answer.content_type}",
            f"content-length: {len(answer.body)}",
        ]
        if answer.retry_after_s is not None:
            lines.append(f"retry-after: {answer.retry_after_s}")
        if self._provider.behaviour.has_cost_header:
            # A float's own text, such as 1.35e-05: LiteLLM writes it so.
            lines.append(f"x-litellm-response-cost: {answer.nanousd / 1e9!r}")
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        if answer.ending is faults.Ending.WHOLE:
            self._transport.write(head + answer.body)
            return
        self._transport.write(head + answer.body[: len(answer.body) // 2])
        fake_streams.break_off(self._transport, answer.ending)


def _header(head: bytes, name: bytes) -> str | None:
    """A header's value from a raw head; a search instead of a parse, since three headers matter."""
    start = head.lower().find(b"\r\n" + name + b":")
    if start < 0:
        return None
    start += len(name) + 3
    return head[start : head.index(b"\r\n", start)].decode("latin-1").strip()


@dataclass(frozen=True, slots=True)
class RunningProvider:
    """A provider in a thread of this process."""

    port: int
    _journal: Journal
    _release: Callable[[], None]
    _held: Callable[[], int]

    def held(self) -> int:
        """How many answers wait for `release`: one that comes before them is lost on them."""
        return self._held()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def executions(self) -> list[Execution]:
        """Everything it was asked, oldest first."""
        return self._journal.executions()

    def wait_for(self, *, started: int = 0, ended: int = 0, timeout_s: float = 10.0) -> list[Execution]:
        """Wait until that many executions have started and ended.  Raises: TimeoutError."""
        return self._journal.wait_for(started=started, ended=ended, timeout_s=timeout_s)

    def release(self) -> None:
        """Let every `fake-hold` that has started be answered, and every stream that pauses go on."""
        self._release()


@contextmanager
def running_provider(
    *, behaviour: Behaviour | None = None, log: Path | None = None, port: int = 0
) -> Iterator[RunningProvider]:
    """Run a provider in a thread. Open connections are aborted at the end."""
    journal = Journal(path=log, is_kept=True)
    provider = Provider(behaviour=behaviour or Behaviour(), journal=journal)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(_listen(provider, loop=loop, port=port))
    thread = threading.Thread(target=loop.run_forever, name="fake-provider", daemon=True)
    thread.start()

    def release() -> None:
        loop.call_soon_threadsafe(provider.release)

    try:
        yield RunningProvider(
            port=_port(server), _journal=journal, _release=release, _held=lambda: len(provider._held)
        )
    finally:
        asyncio.run_coroutine_threadsafe(_shut(provider, server), loop).result(timeout=5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)
        loop.close()
        journal.close()


async def _listen(provider: Provider, *, loop: asyncio.AbstractEventLoop, port: int) -> asyncio.Server:
    return await loop.create_server(lambda: _Connection(provider), "127.0.0.1", port, backlog=1024)


async def _shut(provider: Provider, server: asyncio.Server) -> None:
    server.close()
    for connection in list(provider.connections):
        connection.abort()
    # Aborted transports close their sockets in the loop's next turn.
    await asyncio.sleep(0)


def _port(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


async def _serve_forever(provider: Provider, *, port: int) -> None:
    server = await _listen(provider, loop=asyncio.get_running_loop(), port=port)
    print(f"http://127.0.0.1:{_port(server)}", flush=True)
    await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    default = Behaviour()
    parser = argparse.ArgumentParser(prog="python -m tests.harness.fake_provider", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, help="append one JSON line at the start and the end of each execution")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--fault-rate", type=float, default=default.fault_rate)
    parser.add_argument("--faults", default=",".join(default.faults), help="what the rate draws from")
    parser.add_argument("--latency-ms", type=float, default=default.latency_ms)
    parser.add_argument("--timeout-s", type=float, default=default.timeout_s)
    parser.add_argument("--cost-header", action="store_true")
    options = parser.parse_args(arguments)
    behaviour = Behaviour(
        seed=options.seed,
        fault_rate=options.fault_rate,
        faults=tuple(options.faults.split(",")),
        latency_ms=options.latency_ms,
        timeout_s=options.timeout_s,
        has_cost_header=options.cost_header,
    )
    journal = Journal(path=options.log, is_kept=False)
    try:
        asyncio.run(_serve_forever(Provider(behaviour=behaviour, journal=journal), port=options.port))
    except KeyboardInterrupt:
        pass
    finally:
        journal.close()


if __name__ == "__main__":
    main(sys.argv[1:])
