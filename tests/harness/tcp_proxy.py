"""A TCP proxy between a client and a server that breaks the line on command.

Runs in a thread (`running_proxy`) or as a process (`python -m tests.harness.tcp_proxy`), which prints its address
when ready, takes one mode a line on standard input and ends when that is closed, so it never outlives its parent.
It sees bytes, not messages: `drop_reply` needs a connection without TLS (PostgreSQL: `sslmode=disable`).
"""

# ruff: noqa: T201 - it is a program too, and talks to its caller by printing.

import argparse
import asyncio
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

_CHUNK_BYTES = 65_536
_NO_LINGER = struct.pack("ii", 1, 0)


class Mode(Enum):
    """What the line does from now on."""

    PASS = "pass"
    # Accepts and never answers; what is in flight freezes. It all goes on when the mode changes.
    HANG = "hang"
    # Nobody listens; open connections are reset.
    REFUSE = "refuse"
    # Resets open connections, and new ones as soon as they are accepted.
    CUT = "cut"
    # Holds each piece of a reply back for a time.
    DELAY = "delay"
    # Forwards requests, swallows the reply and resets: the client cannot know whether it was done.
    DROP_REPLY = "drop_reply"


@dataclass(eq=False)
class _Line:
    """One client connection and its connection to the target."""

    client: asyncio.StreamWriter
    target: asyncio.StreamWriter | None = None
    # drop_reply: a request that names the marker has been forwarded, its reply is the one to lose.
    is_armed: bool = False

    def reset(self) -> None:
        for writer in (self.client, self.target):
            if writer is None or writer.transport.is_closing():
                continue
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            writer.transport.abort()


class Proxy:
    """The proxy itself; everything here runs in the event loop's thread."""

    def __init__(self, *, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self._mode = Mode.PASS
        self._delay_s = 0.0
        self._marker = b""
        self._drops_left: int | None = None
        self._lines: set[_Line] = set()
        self._carriers: set[asyncio.Task[Any]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        # Keeps the port ours while nobody listens on it.
        self._reserved: socket.socket | None = None
        self.port = 0
        self.accepted = 0
        self.dropped_replies = 0

    async def start(self, *, port: int) -> None:
        await self._listen(_bound(port))

    async def stop(self) -> None:
        """Reset every line and wait until each has noticed."""
        self._stop_listening()
        if self._reserved is not None:
            self._reserved.close()
        self._mode = Mode.CUT
        self._flows.set()
        self._reset_lines()
        if self._carriers:
            await asyncio.wait(self._carriers)

    async def set_mode(
        self, mode: Mode, *, delay_ms: float = 0.0, marker: bytes = b"", times: int | None = None
    ) -> None:
        if self._reserved is not None and mode is not Mode.REFUSE:
            reserved, self._reserved = self._reserved, None
            await self._listen(reserved)
        self._mode = mode
        self._delay_s = delay_ms / 1000
        self._marker = marker
        self._drops_left = times
        for line in self._lines:
            line.is_armed = False
        if mode is Mode.HANG:
            self._flows.clear()
        else:
            self._flows.set()
        if mode is Mode.REFUSE and self._reserved is None:
            self._stop_listening()
            self._reserved = _bound(self.port)
        if mode in (Mode.REFUSE, Mode.CUT):
            self._reset_lines()

    async def _listen(self, bound: socket.socket) -> None:
        self.port = bound.getsockname()[1]
        self._server = await asyncio.start_server(self._accept, sock=bound, backlog=1024)

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _reset_lines(self) -> None:
        for line in list(self._lines):
            line.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        line = _Line(client=writer)
        self._lines.add(line)
        carrier = asyncio.current_task()
        assert carrier is not None
        self._carriers.add(carrier)
        try:
            await self._carry(line, reader)
        except OSError:
            # The target refused, or one side reset: to the other side that is a broken line, no more.
            pass
        finally:
            self._lines.discard(line)
            line.reset()
            self._carriers.discard(carrier)

    async def _carry(self, line: _Line, reader: asyncio.StreamReader) -> None:
        await self._flows.wait()
        if self._mode in (Mode.CUT, Mode.REFUSE):
            return
        from_target, line.target = await asyncio.open_connection(*self._target)
        requests = asyncio.create_task(self._pump_requests(line, reader, line.target))
        replies = asyncio.create_task(self._pump_replies(line, from_target, line.client))
        # The first error ends the line; a half-closed one lives until both sides are done.
        done, pending = await asyncio.wait({requests, replies}, return_when=asyncio.FIRST_EXCEPTION)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()

    async def _pump_requests(self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._flows.wait()
            if self._mode is Mode.DROP_REPLY and self._marker in chunk:
                line.is_armed = True
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()

    async def _pump_replies(self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._flows.wait()
            if self._mode is Mode.DELAY:
                await asyncio.sleep(self._delay_s)
            if self._mode is Mode.DROP_REPLY and line.is_armed and self._drops_left != 0:
                self.dropped_replies += 1
                if self._drops_left is not None:
                    self._drops_left -= 1
                line.reset()
                return
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


class RunningProxy:
    """A proxy in a thread of this process; each method returns once the change is in force."""

    def __init__(self, *, proxy: Proxy, loop: asyncio.AbstractEventLoop) -> None:
        self._proxy = proxy
        self._loop = loop

    @property
    def port(self) -> int:
        return self._proxy.port

    @property
    def accepted(self) -> int:
        """Connections accepted so far."""
        return self._proxy.accepted

    @property
    def dropped_replies(self) -> int:
        return self._proxy.dropped_replies

    def pass_through(self) -> None:
        self._set(Mode.PASS)

    def hang(self) -> None:
        self._set(Mode.HANG)

    def refuse(self) -> None:
        self._set(Mode.REFUSE)

    def cut(self) -> None:
        self._set(Mode.CUT)

    def delay(self, delay_ms: float) -> None:
        self._set(Mode.DELAY, delay_ms=delay_ms)

    def drop_reply(self, *, marker: bytes = b"", times: int | None = None) -> None:
        """Lose the reply to the next request that contains `marker`, `times` times or until the mode changes."""
        self._set(Mode.DROP_REPLY, marker=marker, times=times)

    def _set(self, mode: Mode, *, delay_ms: float = 0.0, marker: bytes = b"", times: int | None = None) -> None:
        change = self._proxy.set_mode(mode, delay_ms=delay_ms, marker=marker, times=times)
        asyncio.run_coroutine_threadsafe(change, self._loop).result(timeout=5)


@contextmanager
def running_proxy(*, target_host: str = "127.0.0.1", target_port: int, port: int = 0) -> Iterator[RunningProxy]:
    """Run a proxy in a thread. Open connections are reset at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="tcp-proxy", daemon=True)
    thread.start()
    proxy = Proxy(target_host=target_host, target_port=target_port)
    try:
        asyncio.run_coroutine_threadsafe(proxy.start(port=port), loop).result(timeout=5)
        yield RunningProxy(proxy=proxy, loop=loop)
    finally:
        asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(timeout=5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)
        loop.close()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harness.tcp_proxy", description=__doc__)
    parser.add_argument("--listen", type=int, default=0, metavar="PORT")
    parser.add_argument("--target", required=True, metavar="HOST:PORT")
    options = parser.parse_args(arguments)
    host, _, port = options.target.rpartition(":")
    with running_proxy(target_host=host, target_port=int(port), port=options.listen) as proxy:
        print(f"127.0.0.1:{proxy.port}", flush=True)
        try:
            for line in sys.stdin:
                apply_command(proxy, line)
                print(f"ok {line.strip()}", flush=True)
        except KeyboardInterrupt:
            pass
        except ValueError as problem:
            print(problem, file=sys.stderr)
            return 2
    return 0


def apply_command(proxy: RunningProxy, line: str) -> None:
    """Apply a line such as `hang`, `delay 200`, `drop_reply` or `drop_reply COMMIT 3`.  Raises: ValueError."""
    match line.split():
        case ["pass"]:
            proxy.pass_through()
        case ["hang"]:
            proxy.hang()
        case ["refuse"]:
            proxy.refuse()
        case ["cut"]:
            proxy.cut()
        case ["delay", delay_ms]:
            proxy.delay(float(delay_ms))
        case ["drop_reply"]:
            proxy.drop_reply()
        case ["drop_reply", marker]:
            proxy.drop_reply(marker=marker.encode())
        case ["drop_reply", marker, times]:
            proxy.drop_reply(marker=marker.encode(), times=int(times))
        case _:
            raise ValueError(f"unknown command {line.strip()!r}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
