#!/usr/bin/env python3
"""All tests, on both databases.

On SQLite always; on PostgreSQL and Redis whenever both are reachable. With CI set they must be: skipping the tests
that need them is a failure there. Arguments go on to pytest.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What touches no database of the tests' own, or asks for nothing in which databases differ, runs on one.
ONCE = (
    "acceptance",
    "admin",
    "api/test_bad_bodies.py",
    "api/test_receipts_of_cards.py",
    "api/test_rights.py",
    "browser",
    "docs",
    "examples",
    "harness_tests",
    "openapi",
)
# Settings that a shell may hold, e.g. after `. .demo/env`: the tests' own must be in force.
FOREIGN = ("DATABASE_URL", "REDIS_URL", "MASTER_KEY", "LITELLM_BASE_URL", "LITELLM_PROXY_URL", "SAASLLM_EMBEDDED")


def pytest(title: str, *arguments: str, **env: str) -> int:
    """One run of pytest. Its exit code, 1 for a run without a test."""
    print(f"\n=== {title}", flush=True)
    clean = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    command = [sys.executable, "-m", "pytest", "-q", *arguments, *sys.argv[1:]]
    code = subprocess.run(command, cwd=ROOT, env={**clean, **env}, check=False).returncode
    return 1 if code == 5 else code


def main() -> int:
    reachable = subprocess.run([sys.executable, "-m", "tests.harness.services"], cwd=ROOT, check=False).returncode
    if reachable == 2:
        return 2
    sys.path.insert(0, str(ROOT))
    from tests.harness import services

    codes = [pytest("SQLite, everything in one process", "-n", "2")]
    if reachable == 0:
        with services.temporary_database("saas_litellm_tests") as database:
            again = [f"--ignore=tests/{path}" for path in ONCE]
            codes.append(pytest("PostgreSQL", "-n", "2", "-m", "not services", *again, DATABASE_URL=database))
            codes.append(pytest("PostgreSQL, Redis and real processes", "-m", "services", DATABASE_URL=database))
    else:
        print("PostgreSQL and Redis are not reachable: their tests did not run.")
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
