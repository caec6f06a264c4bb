#!/usr/bin/env python3
"""A real LiteLLM proxy with mocked models, for tests: no provider, no key and no database are needed.

    python scripts/litellm_proxy.py [--upstream URL] up | down | check | run -- COMMAND...

With --upstream the models of an OpenAI-compatible API stand behind the proxy too, as `upstream/<name>`. `up` prints
what the product needs to use it, as lines for a shell; `run` gives the same to COMMAND and stops it afterwards.

LiteLLM lives in an environment of its own under .litellm/, installed on first use from hashes. Releases of it have
carried code in files that Python runs at every start, so such files are compared with a list before anything of that
environment is executed; `check` does only that.
"""

import argparse
import fcntl
import hashlib
import json
import os
import random
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".litellm"
ENVIRONMENT = FOLDER / "venv"
REQUIREMENTS = ROOT / "scripts" / "litellm-requirements.txt"
LOG = FOLDER / "proxy.log"
CONFIG = FOLDER / "config.yaml"
STATE = FOLDER / "state.json"
# Says which requirements and which Python the environment was made with, once it is complete.
INSTALLED = FOLDER / "installed"

READY_TIMEOUT_S = 120
STOP_TIMEOUT_S = 15
DEFAULT_MODEL = "mock-model"

# What a clean install has of the files that Python runs by itself, with their whole text: setuptools, which
# `venv` brings along before Python 3.12. Everything else fails the check.
START_FILES = {
    "distutils-precedence.pth": (
        "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'local') == 'local'; "
        "enabled and __import__('_distutils_hack').add_shim();"
    )
}
START_FILE_NAMES = ("*.pth", "sitecustomize*", "usercustomize*")


class Problem(Exception):
    """What went wrong, in one line for the one who ran the command."""


@dataclass(frozen=True)
class Proxy:
    """A running proxy and how to use it."""

    pid: int
    url: str
    master_key: str

    def environment(self) -> dict[str, str]:
        return {
            "LITELLM_BASE_URL": self.url,
            "LITELLM_MASTER_KEY": self.master_key,
            "DEFAULT_MODEL": DEFAULT_MODEL,
        }


def config(upstream: str = "") -> dict[str, Any]:
    """The proxy's configuration.

    `mock-model` has no price, so LiteLLM sends no cost for it; `mock-priced` has one. The others fail. Retries
    are off: by default LiteLLM tries twice more, which takes five seconds, before it reports an error. So are
    cooldowns, which let a model that failed rest: each call is to meet its model.
    """
    answer = "This is a mock answer."
    price = {"input_cost_per_token": 0.000001, "output_cost_per_token": 0.000002}
    models: dict[str, dict[str, Any]] = {
        DEFAULT_MODEL: {"mock_response": answer},
        "mock-priced": {"mock_response": answer, **price},
        "mock-400": {"mock_response": "litellm.ContextWindowExceededError"},
        "mock-429": {"mock_response": "litellm.RateLimitError"},
        "mock-500": {"mock_response": "litellm.InternalServerError"},
    }
    model_list = [
        {
            "model_name": name,
            "litellm_params": {"model": "openai/mock", "api_key": "not-a-key", **parameters},
        }
        for name, parameters in models.items()
    ]
    if upstream:
        behind: dict[str, Any] = {
            "model": "openai/*",
            "api_key": "not-a-key",
            "api_base": f"{upstream.rstrip('/')}/v1",
            **price,
        }
        # LiteLLM refuses these for models that it does not know.
        behind["allowed_openai_params"] = ["dimensions", "reasoning_effort", "verbosity"]
        model_list.append({"model_name": "upstream/*", "litellm_params": behind})
    return {
        "model_list": model_list,
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "litellm_settings": {"telemetry": False},
    }


def install() -> None:
    """Make the environment unless it is there, complete and made from these requirements; then check it."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / ".gitignore").write_text("*\n")
    fingerprint = f"{hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()} {sys.version_info[:2]}\n"
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not INSTALLED.exists() or INSTALLED.read_text() != fingerprint:
            INSTALLED.unlink(missing_ok=True)
            shutil.rmtree(ENVIRONMENT, ignore_errors=True)
            print("Installing LiteLLM (about 750 MB) into .litellm/ …", file=sys.stderr, flush=True)
            subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
            # Wheels only: a source package would run code of its own while it is built.
            pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
            pip += ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement", str(REQUIREMENTS)]
            if subprocess.run(pip, stdout=sys.stderr, check=False).returncode != 0:
                raise Problem("LiteLLM could not be installed; pip says why above.")
            # Before it counts as installed, and again at each start.
            check_start_files()
            INSTALLED.write_text(fingerprint)
    check_start_files()


def check_start_files() -> None:
    """Compare the files that Python runs at its start with the list.  Raises: Problem naming the others.

    Reads only: nothing of the environment is executed, or it would be too late.
    """
    found = {path for name in START_FILE_NAMES for path in ENVIRONMENT.rglob(name)}
    strange = [
        str(path.relative_to(ENVIRONMENT))
        for path in sorted(found)
        if path.is_dir() or START_FILES.get(path.name) != path.read_text(errors="replace").strip()
    ]
    if strange:
        raise Problem(
            f"Files that run at every start of Python and are not on the list: {', '.join(strange)}. "
            "Do not use this environment; delete .litellm/ and look into it."
        )


def start(upstream: str = "") -> Proxy:
    """Start the proxy in the background and wait until it answers a call.  Raises: Problem."""
    install()
    CONFIG.write_text(json.dumps(config(upstream), indent=2))  # JSON is YAML.
    port, master_key = _free_port(), f"sk-{secrets.token_hex(16)}"
    # Nothing inherited but what programs need: with a DATABASE_URL of ours LiteLLM would try to use it.
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    # Otherwise it tries to fetch prices from the network.
    environment |= {"LITELLM_MASTER_KEY": master_key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command = [str(ENVIRONMENT / "bin" / "litellm"), "--config", str(CONFIG)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with LOG.open("wb") as log:
        popen = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    proxy = Proxy(pid=popen.pid, url=f"http://127.0.0.1:{port}", master_key=master_key)
    try:
        _wait_until_ready(proxy, popen)
    except BaseException:
        stop(proxy)
        raise
    return proxy


def stop(proxy: Proxy) -> None:
    """End the proxy and all its processes; one that has ended already is fine."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(proxy.pid, number)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            if not _is_alive(proxy.pid):
                return
            time.sleep(0.05)
    raise Problem(f"LiteLLM (process {proxy.pid}) does not end.")


@contextmanager
def running(upstream: str = "") -> Iterator[Proxy]:
    """A proxy that is stopped whatever happens, SIGTERM included."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    proxy = start(upstream)
    try:
        yield proxy
    finally:
        stop(proxy)


def up(upstream: str = "") -> None:
    """Start a proxy that stays, unless one does, and print how to use it."""
    proxy = _noted()
    if proxy is None:
        proxy = start(upstream)
        # Holds the master key.
        with open(os.open(STATE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(proxy), file)
    for name, value in proxy.environment().items():
        print(f"{name}={shlex.quote(value)}")


def down() -> None:
    """Stop the proxy that `up` started, if it runs."""
    proxy = _noted()
    if proxy is not None:
        stop(proxy)
    STATE.unlink(missing_ok=True)


def _noted() -> Proxy | None:
    """The proxy that `up` noted, if that process is still this proxy and not another that got its number."""
    if not STATE.exists():
        return None
    proxy = Proxy(**json.loads(STATE.read_text()))
    shown = subprocess.run(
        ["ps", "-o", "args=", "-p", str(proxy.pid)], capture_output=True, text=True, check=False
    ).stdout
    return proxy if str(CONFIG) in shown else None


def _wait_until_ready(proxy: Proxy, popen: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not _answers(proxy):
        if popen.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(LOG.read_text(errors="replace").splitlines()[-30:])
            raise Problem(f"LiteLLM did not start; the end of .litellm/proxy.log is:\n{tail}")
        time.sleep(0.2)


def _answers(proxy: Proxy) -> bool:
    body = {"model": DEFAULT_MODEL, "messages": [{"role": "user", "content": "Are you there?"}]}
    request = urllib.request.Request(
        f"{proxy.url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json", "authorization": f"Bearer {proxy.master_key}"},
    )
    # No proxy from the environment: this is a call to ourselves.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as response:
            return bool(json.load(response)["choices"])
    except urllib.error.HTTPError as error:
        raise Problem(f"LiteLLM answers its own mock model with {error.code}: {error.read()!r}") from error
    except OSError:
        return False


def _is_alive(group: int) -> bool:
    # Ours are reaped here; those of an earlier command were handed to init.
    with suppress(ChildProcessError):
        os.waitpid(group, os.WNOHANG)
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _free_port() -> int:
    # Below the range of outgoing connections, one of which could take the port before the proxy binds it.
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Problem("No free port was found.")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    parser.add_argument("--upstream", default="", help="an OpenAI-compatible API behind the proxy")
    parser.add_argument("action", choices=["up", "down", "check", "run"])
    parser.add_argument("command", nargs=argparse.REMAINDER, help="for run: what to execute, after --")
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if bool(command) != (options.action == "run"):
        parser.error("give a command after `run --`, and only there")
    try:
        match options.action:
            case "up":
                up(options.upstream)
            case "down":
                down()
            case "check":
                install()
            case _:
                with running(options.upstream) as proxy:
                    return subprocess.run(command, env={**os.environ, **proxy.environment()}, check=False).returncode
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
