"""The product's real processes under test: web, worker, beat, commands; and the harness's own.

Invariant: each runs in a process group of its own with exactly the environment it was given, and none outlives
the interpreter that started it (short of a SIGKILL of that interpreter).
"""

import atexit
import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from tests.harness import cpu, worker_ready
from tests.harness.ports import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
_POLL_S = 0.02
_LOG_TAIL_LINES = 40
# Of the caller's environment only what programs need to run at all: a DATABASE_URL there must not leak in.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")

Ready = Callable[["Process"], bool]


class NotReady(Exception):
    """Raised when a process ended, or was not ready in time; the text has the end of its log."""


class Process:
    """A started program and all its children."""

    def __init__(self, *, name: str, popen: "subprocess.Popen[bytes]", log_path: Path, port: int | None) -> None:
        self.name = name
        self.pid = popen.pid
        self.log_path = log_path
        self.port = port
        self._popen = popen

    @property
    def url(self) -> str:
        if self.port is None:
            raise ValueError(f"{self.name} serves no port")
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        """What it has printed so far."""
        return self.log_path.read_text(errors="replace")

    def is_running(self) -> bool:
        return self._popen.poll() is None

    def cpu_seconds(self) -> float:
        """CPU used so far by it and its children.  Raises: ProcessLookupError when it has ended."""
        return cpu.group_cpu_seconds(self.pid)

    def send_line(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(line.encode() + b"\n")
        self._popen.stdin.flush()

    def kill(self) -> None:
        """SIGKILL for the whole group; returns when none of it is left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        # Children are reaped by init, not by us, which takes a moment.
        _wait_until(lambda: cpu.group_members(self.pid) == 0, timeout_s=10, what=f"{self.name} to be gone")
        _running.discard(self)

    def stop(self, *, timeout_s: float = 20.0) -> int:
        """SIGTERM, as a deployment does, and wait.

        Returns its exit code.  Raises: TimeoutError after killing it, when it did not end in time.
        """
        self._popen.terminate()
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} did not stop in {timeout_s:g} s:\n{self.log_tail()}") from None
        finally:
            self.kill()

    def log_tail(self) -> str:
        return "\n".join(self.log().splitlines()[-_LOG_TAIL_LINES:])


_running: set[Process] = set()
_logs: Path | None = None
_start_lock = threading.Lock()


def start(
    name: str,
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    is_ready: Ready,
    timeout_s: float = 30.0,
    port: int | None = None,
    has_stdin: bool = False,
) -> Process:
    """Start `command` from the repository's root and wait until it is ready.

    Raises: NotReady, after killing it.
    """
    log_path = _log_folder() / f"{name}-{time.monotonic_ns()}.log"
    with log_path.open("wb") as log:
        popen = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(env),
            stdin=subprocess.PIPE if has_stdin else subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process = Process(name=name, popen=popen, log_path=log_path, port=port)
    _running.add(process)
    try:
        _wait_until(lambda: not process.is_running() or is_ready(process), timeout_s=timeout_s, what="readiness")
    except TimeoutError:
        process.kill()
        raise NotReady(f"{name} was not ready in {timeout_s:g} s:\n{process.log_tail()}") from None
    except BaseException:
        process.kill()
        raise
    if not process.is_running():
        process.kill()
        raise NotReady(f"{name} ended with {popen.returncode}:\n{process.log_tail()}")
    return process


def start_web(
    env: Mapping[str, str],
    *,
    port: int = 0,
    threads: int = 64,
    application: str = "saasllm.wsgi:application",
    timeout_s: float = 30.0,
) -> Process:
    """The web process under granian: a supervisor and one worker. Ready when GET /health answers 200."""
    port = port or free_port()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", application]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--no-ws"]
    command += [
        "--blocking-threads",
        str(threads),
        # Connections, idle ones too: with as many as threads, clients that keep theirs open lock the others out.
        "--backpressure",
        "1024",
        "--respawn-failed-workers",
    ]
    env = {"WEB_THREADS": str(threads), "_RJEM_MALLOC_CONF": "tcache:false", **env}
    return start("web", command, env, is_ready=_is_healthy, timeout_s=timeout_s, port=port)


def start_web_gunicorn(
    env: Mapping[str, str],
    *,
    port: int = 0,
    threads: int = 64,
    application: str = "saasllm.wsgi:application",
    timeout_s: float = 30.0,
) -> Process:
    """The web process under gunicorn's threads. Ready when GET /health answers 200."""
    port = port or free_port()
    command = [sys.executable, "-m", "gunicorn", application, "--worker-class", "gthread"]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", "1", "--threads", str(threads)]
    env = {"WEB_THREADS": str(threads), **env}
    return start("web-gunicorn", command, env, is_ready=_is_healthy, timeout_s=timeout_s, port=port)


def start_worker(
    env: Mapping[str, str],
    *,
    concurrency: int = 32,
    app: str = "saasllm",
    log_level: str = "warning",
    timeout_s: float = 30.0,
) -> Process:
    """A Celery worker on threads. Ready when it consumes."""
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "-P", "threads", "-c", str(concurrency)]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", log_level]
    # Several workers of one host need names of their own; the module tells us when it consumes.
    command += ["-n", f"worker-{time.monotonic_ns()}@%h", "--include", worker_ready.__name__]
    return start(
        "worker",
        command,
        env,
        is_ready=lambda process: worker_ready.LINE in process.log(),
        timeout_s=timeout_s,
    )


def start_beat(env: Mapping[str, str], *, app: str = "saasllm", timeout_s: float = 30.0) -> Process:
    """Celery beat, its schedule in a file of its own. Ready when it starts to tick."""
    schedule = _log_folder() / f"beat-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "celery", "-A", app, "beat", "-l", "info", "--schedule", str(schedule)]
    # Beside the schedule: its default, the working directory, would refuse a second beat there.
    command += ["--pidfile", f"{schedule}.pid"]
    return start(
        "beat", command, env, is_ready=lambda process: "beat: Starting" in process.log(), timeout_s=timeout_s
    )


def start_fake_provider(*options: str, timeout_s: float = 10.0) -> Process:
    """The fake provider as a process, with the options of its command line. Ready when it listens."""
    port = free_port()
    command = [sys.executable, "-m", "tests.harness.fake_provider", "--port", str(port), *options]
    return start("fake-provider", command, {}, is_ready=_is_healthy, timeout_s=timeout_s, port=port)


def start_tcp_proxy(*, target: str, timeout_s: float = 10.0) -> Process:
    """The TCP proxy as a process; `set_proxy_mode` sets its mode. Ready when it listens."""
    port = free_port()
    command = [sys.executable, "-m", "tests.harness.tcp_proxy", "--listen", str(port), "--target", target]
    return start(
        "tcp-proxy",
        command,
        {},
        is_ready=lambda process: f"127.0.0.1:{port}\n" in process.log(),
        timeout_s=timeout_s,
        port=port,
        has_stdin=True,
    )


def set_proxy_mode(proxy: Process, command: str) -> None:
    """Give the TCP proxy a command such as `hang`; returns once it is in force.  Raises: NotReady when refused."""
    done = proxy.log().count("\nok ")
    proxy.send_line(command)
    _wait_until(
        lambda: not proxy.is_running() or proxy.log().count("\nok ") > done,
        timeout_s=5,
        what=f"mode {command}",
    )
    if not proxy.is_running():
        raise NotReady(f"the proxy ended at {command!r}:\n{proxy.log_tail()}")


def manage(
    env: Mapping[str, str], *arguments: str, timeout_s: float = 120.0, is_checked: bool = True
) -> "subprocess.CompletedProcess[str]":
    """Run a `manage.py` command, output captured.

    Raises: RuntimeError with that output when it exits with another code than 0 and `is_checked`.
    """
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if is_checked and done.returncode != 0:
        raise RuntimeError(
            f"manage.py {' '.join(arguments)} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a process that is given `env`."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        **env,
    }


def kill_all() -> None:
    """Kill everything that was started here and still runs."""
    for process in list(_running):
        process.kill()


def _is_healthy(process: Process) -> bool:
    assert process.port is not None
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _wait_until(is_reached: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_reached():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}")
        time.sleep(_POLL_S)


def _log_folder() -> Path:
    """A folder for logs; with the first one, see to it that nothing outlives this interpreter."""
    global _logs
    with _start_lock:
        if _logs is None:
            _logs = Path(tempfile.mkdtemp(prefix="harness-"))
            atexit.register(_clean_up, _logs)
            _take_all_along_on_sigterm()
        return _logs


def _clean_up(logs: Path) -> None:
    kill_all()
    shutil.rmtree(logs, ignore_errors=True)


def _take_all_along_on_sigterm() -> None:
    """Kill what runs before dying of a SIGTERM, unless the program has a handler of its own."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _die)


def _die(number: int, _: FrameType | None) -> None:
    # Without waiting: the interrupted code may hold the lock of the very wait.
    for process in list(_running):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if _logs is not None:
        shutil.rmtree(_logs, ignore_errors=True)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
