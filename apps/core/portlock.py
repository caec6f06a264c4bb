"""Who may use a TCP port of this machine: an advisory lock on one file a port, in the system temp dir.

Invariant: at most one holder a port. The kernel drops the lock when the last process that inherited it
ends, so a killed holder leaves nothing behind; the text in the file only says who to ask.
"""

import fcntl
import os
import shlex
import socket
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_POLL_S = 0.1
_HOLDER_MAX_BYTES = 500


class PortBusy(Exception):
    """Raised when another process holds the port's lock, or listens on the port without holding it."""


class PortLock:
    """A held lock. It survives exec, so that a command can take it and then become the server."""

    def __init__(self, *, port: int, fd: int) -> None:
        self.port = port
        self._fd: int | None = fd

    def release(self) -> None:
        """Give the port up; a second time changes nothing."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def port_lock(port: int, *, wait_s: float = 0.0) -> PortLock:
    """Take the lock of `port`, waiting up to `wait_s` for its holder to go.

    Raises: PortBusy, whose text says who holds the port.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return _take(port)
        except PortBusy:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_POLL_S)


def lock_path(port: int) -> Path:
    return Path(tempfile.gettempdir(), f"saas-litellm-port-{port}.lock")


def _take(port: int) -> PortLock:
    fd = _open(lock_path(port))
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(fd)
        os.close(fd)
        raise PortBusy(f"Port {port} is held by {holder}") from None
    if not _can_bind(port):
        os.close(fd)
        raise PortBusy(f"Port {port} is in use by a program that does not take the port's lock")
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"process {os.getpid()}: {_command()}".encode()[:_HOLDER_MAX_BYTES], 0)
    os.set_inheritable(fd, True)
    return PortLock(port=port, fd=fd)


def _open(path: Path) -> int:
    """Open the lock file, made on first use.

    The file is never unlinked: two processes could then hold the lock of two files of one name. It is
    writable by all, and opened without O_CREAT when it exists, because Linux refuses O_CREAT on another
    user's file in a sticky directory (fs.protected_regular).
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            try:
                fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                continue
            os.fchmod(fd, 0o666)
            return fd


def _holder(fd: int) -> str:
    """The holder's own words, printable characters only: any user of the machine can write that file."""
    text = os.pread(fd, _HOLDER_MAX_BYTES, 0).decode(errors="replace")
    return "".join(character for character in text if character.isprintable()) or "a process that is starting"


def _command() -> str:
    return shlex.join([Path(sys.executable).name, *sys.argv])


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do, so that the remains of closed connections do not count as a user of the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
