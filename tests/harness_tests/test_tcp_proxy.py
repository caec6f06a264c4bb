import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.harness import processes, services
from tests.harness.tcp_proxy import RunningProxy, apply_command, running_proxy


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        # Lines are reset under it, that is what they are for here.
        with contextlib.suppress(ConnectionError):
            while piece := self.request.recv(1000):
                self.server.seen.append(piece)  # type: ignore[attr-defined]
                self.request.sendall(piece)


@pytest.fixture
def target() -> Iterator[socketserver.ThreadingTCPServer]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        server.seen = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proxy(target: socketserver.ThreadingTCPServer) -> Iterator[RunningProxy]:
    with running_proxy(target_port=target.server_address[1]) as running:
        yield running


@pytest.fixture
def line(proxy: RunningProxy) -> Iterator[socket.socket]:
    """An open connection through the proxy that has carried something already."""
    with connect(proxy) as connection:
        assert exchange(connection, b"hello") == b"hello"
        yield connection


def connect(proxy: RunningProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def exchange(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    return connection.recv(1000)


def test_a_hanging_line_accepts_and_answers_once_it_flows_again(
    proxy: RunningProxy, line: socket.socket, target: socketserver.ThreadingTCPServer
) -> None:
    proxy.hang()
    with connect(proxy) as late:
        for connection in (line, late):
            connection.sendall(b"anyone?")
            connection.settimeout(0.05)
            with pytest.raises(TimeoutError):
                connection.recv(1000)
            connection.settimeout(5)
        assert target.seen == [b"hello"]  # type: ignore[attr-defined]
        proxy.pass_through()
        assert line.recv(1000) == late.recv(1000) == b"anyone?"


def test_a_refusing_line_resets_what_is_open_and_keeps_its_port(proxy: RunningProxy, line: socket.socket) -> None:
    port = proxy.port
    proxy.refuse()
    proxy.refuse()
    with pytest.raises(ConnectionResetError):
        line.recv(1000)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.pass_through()
    with connect(proxy) as again:
        assert exchange(again, b"back") == b"back"
    assert proxy.port == port


def test_a_cut_line_resets_what_is_open_and_what_comes(proxy: RunningProxy, line: socket.socket) -> None:
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        line.recv(1000)
    # The reset may come before the connecting has ended.
    with pytest.raises(ConnectionResetError), connect(proxy) as late:
        late.recv(1000)
    assert proxy.accepted == 2


def test_a_delayed_line_answers_late(proxy: RunningProxy, line: socket.socket) -> None:
    proxy.delay(100)
    line.settimeout(0.05)
    with pytest.raises(TimeoutError):
        exchange(line, b"slow")
    line.settimeout(5)
    assert line.recv(1000) == b"slow"


def test_the_reply_to_a_marked_request_is_lost_after_the_target_has_seen_it(
    proxy: RunningProxy, line: socket.socket, target: socketserver.ThreadingTCPServer
) -> None:
    proxy.drop_reply(marker=b"COMMIT", times=1)
    assert exchange(line, b"UPDATE") == b"UPDATE"
    with pytest.raises(ConnectionResetError):
        exchange(line, b"COMMIT")
    assert target.seen[-1] == b"COMMIT"  # type: ignore[attr-defined]
    with connect(proxy) as again:
        assert exchange(again, b"COMMIT") == b"COMMIT"
    assert proxy.dropped_replies == 1


def test_a_target_that_is_down_is_a_broken_line(target: socketserver.ThreadingTCPServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with (
        running_proxy(target_port=port) as proxy,
        pytest.raises(ConnectionResetError),
        connect(proxy) as connection,
    ):
        connection.recv(1000)


def test_a_client_that_says_no_more_still_gets_its_answer(line: socket.socket) -> None:
    line.sendall(b"last words")
    line.shutdown(socket.SHUT_WR)
    assert line.recv(1000) == b"last words"
    assert line.recv(1000) == b""


@pytest.mark.parametrize("command", ["", "hangs", "delay", "delay soon", "drop_reply COMMIT often"])
def test_an_unknown_command_is_refused(proxy: RunningProxy, command: str) -> None:
    with pytest.raises(ValueError):
        apply_command(proxy, command)


def test_the_process_takes_its_modes_from_standard_input(target: socketserver.ThreadingTCPServer) -> None:
    process = processes.start_tcp_proxy(target=f"127.0.0.1:{target.server_address[1]}")
    assert process.port is not None
    processes.set_proxy_mode(process, "drop_reply COMMIT 1")
    with socket.create_connection(("127.0.0.1", process.port), timeout=5) as connection:
        assert exchange(connection, b"hello") == b"hello"
        with pytest.raises(ConnectionResetError):
            exchange(connection, b"COMMIT")
    process.kill()


@pytest.mark.services
def test_a_postgresql_commit_whose_reply_is_lost_has_happened() -> None:
    with services.temporary_database("harness_proxy") as url, psycopg.connect(url, autocommit=True) as direct:
        direct.execute("CREATE TABLE thing (id int)")
        with running_proxy(target_host=direct.info.host, target_port=direct.info.port) as proxy:
            through_proxy = make_conninfo(url, host="127.0.0.1", port=proxy.port, sslmode="disable")
            connection = psycopg.connect(through_proxy)
            proxy.drop_reply(marker=b"COMMIT")
            connection.execute("INSERT INTO thing VALUES (1)")
            with pytest.raises(psycopg.OperationalError):
                connection.commit()
        assert direct.execute("SELECT count(*) FROM thing").fetchone() == (1,)
