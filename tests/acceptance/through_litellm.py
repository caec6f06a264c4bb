"""`make test-litellm`: the examples and OpenAI's client through web, worker and beat on PostgreSQL and Redis, and a
real LiteLLM proxy.

The proxy has an environment of its own. Behind it are a mocked model for the examples, and the fake provider.
"""

# ruff: noqa: T201 - it is a program that talks to its caller by printing.

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from apps.core.portlock import PortBusy, port_lock
from tests.acceptance import examples, openai_sdk
from tests.acceptance.openai_sdk import platform as names
from tests.acceptance.openai_sdk.platform import Backend, Platform
from tests.harness import able_answers, faults, processes, services
from tests.harness.executions import read_journal

PORT = 8003  # the examples name it
_BEHIND = "upstream/"  # how the proxy names the fake provider's models


def main() -> int:
    if "--behind-proxy" in sys.argv:
        return _run_checks(provider_url=sys.argv[-2], executions=Path(sys.argv[-1]))
    if not services.reachable():
        print("PostgreSQL and Redis are needed: see `python -m tests.harness.services`.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        executions = Path(folder) / "executions.jsonl"
        provider = processes.start_fake_provider("--log", str(executions))
        own = [
            sys.executable,
            "-m",
            "tests.acceptance.through_litellm",
            "--behind-proxy",
            provider.url,
            str(executions),
        ]
        proxy = [sys.executable, "scripts/litellm_proxy.py", "--upstream", provider.url, "run", "--", *own]
        try:
            return subprocess.run(proxy, cwd=examples.ROOT, check=False).returncode
        finally:
            provider.stop()


def _backend(provider_url: str) -> Backend:
    """The fake provider behind the proxy. Its own names, the proxy's and both addresses are not to be seen."""
    proxy_url, proxy_key = os.environ["LITELLM_BASE_URL"], os.environ["LITELLM_MASTER_KEY"]
    return Backend(
        route="litellm",
        models={
            names.CHAT: f"{_BEHIND}fake-able",
            names.LIMITED: f"{_BEHIND}fake-429",
            names.BROKEN: f"{_BEHIND}fake-500",
            names.CHOOSY: f"{_BEHIND}fake-400",
            names.CUT: f"{_BEHIND}fake-drip-20-cut-3",
            names.SLOW: f"{_BEHIND}fake-slow-900",
        },
        never_seen=(
            _BEHIND, "fake-", "openai/", "OpenAIException", "provider_specific_fields", "response-cost", "not-a-key",
            faults.CANARY_HOST, faults.CANARY_SECRET, able_answers.CANARY_FIELD, able_answers.CANARY_FINGERPRINT,
            urlsplit(proxy_url).netloc, urlsplit(provider_url).netloc, proxy_key,
        ),
        embedding_dimensions=faults.DIMENSIONS,
    )  # fmt: skip


def _run_checks(*, provider_url: str, executions: Path) -> int:
    try:
        lock = port_lock(PORT, wait_s=120)
    except PortBusy as busy:
        print(busy, file=sys.stderr)
        return 1
    with lock, services.temporary_database("saas_litellm_acceptance") as database, services.free_redis_db() as redis:
        env = {
            "DATABASE_URL": database,
            "REDIS_URL": redis,
            "SECRET_KEY": secrets.token_urlsafe(32),
            "KEY_PEPPER": secrets.token_urlsafe(32),
            "MASTER_KEY": secrets.token_urlsafe(32),
            **{name: os.environ[name] for name in ("LITELLM_BASE_URL", "LITELLM_MASTER_KEY", "DEFAULT_MODEL")},
        }
        processes.manage(env, "migrate", "--verbosity", "0")
        made = processes.manage(env, "provision", "--organization", "acme", "--team", "acme-prod", "--credits", "100")
        os.environ.update(dict(line.split("=", 1) for line in made.stdout.splitlines()))
        running = [processes.start_web(env, port=PORT), processes.start_worker(env), processes.start_beat(env)]
        platform = Platform(f"http://localhost:{PORT}", master_key=env["MASTER_KEY"], backend=_backend(provider_url))
        try:
            platform.prepare()
            failed = examples.main() | openai_sdk.main(platform)
            print(processes.manage(env, "ledger_verify").stdout.strip())
            failed |= _was_asked_more_often(database, executions)
        finally:
            for process in running:
                process.stop()
    return failed


def _was_asked_more_often(database: str, executions: Path) -> int:
    """1 when the provider was asked more or less often than the platform has tries: nobody may repeat them unseen."""
    with psycopg.connect(database) as connection:
        query = "SELECT count(*) FROM jobs_attempt WHERE starts_with(provider_model, %s)"
        ((tries,),) = connection.execute(query, [_BEHIND]).fetchall()
    asked = len(read_journal(executions))
    print(f"{tries} tries of the platform, {asked} requests at the provider")
    return int(tries != asked)


if __name__ == "__main__":
    sys.exit(main())
