"""`make test-litellm`: the examples and OpenAI's client through web, worker and beat on PostgreSQL and Redis, and a
real LiteLLM proxy.

The proxy has a mocked model and an environment of its own; only the models behind it are not real.
"""

# ruff: noqa: T201 - it is a program that talks to its caller by printing.

import os
import secrets
import subprocess
import sys

from apps.core.portlock import PortBusy, port_lock
from tests.acceptance import examples, openai_client
from tests.harness import processes, services

PORT = 8003  # the examples name it


def main() -> int:
    if "--behind-proxy" in sys.argv:
        return _run_examples()
    if not services.reachable():
        print("PostgreSQL and Redis are needed: see `python -m tests.harness.services`.", file=sys.stderr)
        return 1
    own = [sys.executable, "-m", "tests.acceptance.through_litellm", "--behind-proxy"]
    return subprocess.run(
        [sys.executable, "scripts/litellm_proxy.py", "run", "--", *own], cwd=examples.ROOT, check=False
    ).returncode


def _run_examples() -> int:
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
            **{name: os.environ[name] for name in ("LITELLM_BASE_URL", "LITELLM_MASTER_KEY", "DEFAULT_MODEL")},
        }
        processes.manage(env, "migrate", "--verbosity", "0")
        made = processes.manage(env, "provision", "--organization", "acme", "--team", "acme-prod", "--credits", "100")
        os.environ.update(dict(line.split("=", 1) for line in made.stdout.splitlines()))
        running = [processes.start_web(env, port=PORT), processes.start_worker(env), processes.start_beat(env)]
        try:
            failed = examples.main() | openai_client.main()
            print(processes.manage(env, "ledger_verify").stdout.strip())
        finally:
            for process in running:
                process.stop()
    return failed


if __name__ == "__main__":
    sys.exit(main())
