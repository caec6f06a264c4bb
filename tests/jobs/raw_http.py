"""A server that sends exactly the bytes a test gives it, also what no decent HTTP library can be made to say."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import orjson

Reply = Callable[[socket.socket, threading.Event], None]


@dataclass
class RawServer:
    """A listening server, and the requests it got: head and body, as bytes."""

    url: str
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)
    connections: int = 0

    @property
    def heads(self) -> list[str]:
        return [head.decode("latin-1").lower() for head, _ in self.requests]

    @property
    def bodies(self) -> list[dict[str, object]]:
        return [orjson.loads(body) for _, body in self.requests]


def response(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    """A whole HTTP/1.1 response."""
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body


def sending(data: bytes) -> Reply:
    """Send these bytes and keep the connection open."""
    return lambda connection, _: connection.sendall(data)


@contextmanager
def serving(reply: Reply, *, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """Answer each request with `reply`, which may wait on the event that is set when the test is over."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    server = RawServer(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
    open_connections: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                server.connections += 1
                open_connections.append(connection)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def serve(connection: socket.socket) -> None:
        with suppress(OSError):
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
                open_connections.append(connection)
            stream = connection.makefile("rb")
            while head := _head(stream):
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                server.requests.append((head, stream.read(length)))
                reply(connection, over)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        over.set()
        # A closed listener does not wake a thread that waits in accept; a shut one does.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=5)
        for connection in open_connections:
            connection.close()


def _head(stream: object) -> bytes:
    lines = []
    while (line := stream.readline()) not in (b"", b"\r\n"):  # type: ignore[attr-defined]
        lines.append(line)
    return b"".join(lines)
