import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.harness.ports import PortBusy, free_port, port_lock


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_a_held_port_is_refused_and_the_text_says_who_holds_it() -> None:
    port = free_port()
    with port_lock(port), pytest.raises(PortBusy) as refusal:
        port_lock(port)
    assert f"Port {port} is held by process {os.getpid()}: " in str(refusal.value)
    assert Path(sys.argv[0]).name in str(refusal.value)


def test_a_released_port_can_be_taken_again() -> None:
    port = free_port()
    port_lock(port).release()
    with port_lock(port) as lock:
        assert lock.port == port


def test_a_port_in_use_without_its_lock_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger, pytest.raises(PortBusy, match="does not take"):
        port_lock(stranger.getsockname()[1])


def test_waiting_for_a_port_takes_it_when_its_holder_leaves() -> None:
    port = free_port()
    held = port_lock(port)
    threading.Timer(0.05, held.release).start()
    with port_lock(port, wait_s=10) as lock:
        assert lock.port == port


def test_the_lock_outlives_exec_and_goes_with_its_process(tmp_path: Path) -> None:
    port = free_port()
    program = (
        "import os, sys, tempfile\n"
        "from apps.core.portlock import port_lock\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        f"lock = port_lock({port})\n"
        "os.execv(sys.executable, [sys.executable, '-c', 'print(1, flush=True); input()'])\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    with holder.stdin, holder.stdout:
        assert holder.stdout.readline() == b"1\n"
        with pytest.raises(PortBusy, match=f"held by process {holder.pid}: "):
            port_lock(port)
        holder.kill()
        holder.wait()
    port_lock(port).release()


def test_control_characters_of_another_users_file_are_not_printed(tmp_path: Path) -> None:
    port = free_port()
    with port_lock(port):
        (tmp_path / f"saas-litellm-port-{port}.lock").write_text("process 1: \x1b[31mred\n")
        with pytest.raises(PortBusy, match=r"held by process 1: \[31mred$"):
            port_lock(port)
