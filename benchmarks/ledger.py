"""Hold and charge on one hot wallet and over many, beside the same rows by SQL written by hand in the same run."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.report import aligned
from benchmarks.stack import ROOT, Plan, production_env, provisioned
from tests.harness import processes, services
from tests.harness.processes import NotReady

WORKLOADS = ("ledger-hot", "ledger-wide")
WALLETS = 1_000
PAIRS = 3
# More threads in one process wait for each other's Python.
_CLIENTS_MAX = 8
_NOTE = (
    "A job is a hold and a charge, two transactions. ratio: the median of {pairs} pairs of windows in turns; the goal"
    " is at least 0.5.\nledger_verify found {differences} differences in the {entries} entries of both."
)


def measure(
    workloads: Sequence[str], clients: Sequence[int], *, seconds: float, wallets: int = WALLETS, pairs: int = PAIRS
) -> dict[str, Any]:
    """Figures of these workloads in a database of their own.  Raises: NotReady."""
    threads = sorted({min(each, _CLIENTS_MAX) for each in clients})
    plan = Plan(teams=0, settings={"DB_POOL_MAX": str(_CLIENTS_MAX + 2)})
    asked = {"workloads": list(workloads), "clients": threads, "wide": wallets, "seconds": seconds, "pairs": pairs}
    with ExitStack() as cleanup:
        env = production_env(
            plan,
            database_url=cleanup.enter_context(services.temporary_database("saas_bench")),
            redis_url=cleanup.enter_context(services.free_redis_db()),
            provider_url="http://127.0.0.1:1",
        )
        provisioned(env, teams=0)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.ledger_jobs", json.dumps(asked)],
            cwd=ROOT,
            env=processes.environment(env),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise NotReady(f"the ledger could not be measured:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"pairs": pairs}


def table(found: Mapping[str, Any]) -> str:
    """What `make bench` prints of them."""
    head = ["workload", "wallets", "clients", "jobs/s", "by hand", "ratio"]
    lines = [
        [
            row["workload"],
            str(row["wallets"]),
            str(row["clients"]),
            f"{row['jobs_per_s']:.0f}",
            f"{row['by_hand_per_s']:.0f}",
            f"{row['ratio']:.2f}",
        ]
        for row in found["rows"]
    ]
    note = _NOTE.format(pairs=found["pairs"], differences=len(found["differences"]), entries=found["entries"])
    return f"{aligned([head, *lines])}\n\n{note}"
