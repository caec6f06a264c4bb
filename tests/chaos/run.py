"""`make chaos`: customers at work on real processes in a storm of faults; afterwards nothing is lost or paid twice.

Prints one line of JSON; what is wrong goes to standard error, one line each. Exits 1 when anything is.
"""

# ruff: noqa: T201 - it talks to its caller by printing.

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos import checker
from tests.chaos.checker import Findings
from tests.chaos.customers import Customers
from tests.chaos.plan import SLOW_MODEL, jobs_for
from tests.chaos.storm import Storm
from tests.harness import processes, services
from tests.harness.executions import Execution, read_journal
from tests.harness.processes import Process
from tests.services.customer import Customer
from tests.services.stack import Stack, Team, prepared

FAULT_RATE = 0.2
LATENCY_MS = 50
CLIENTS = 32
SUCCESS_LEAST = 0.98
SHOWN_PROBLEMS = 20
TEAMS = (Team("flat", credits=1_000_000), Team("metered", credits=100_000_000, is_metered=True))
# Calls are given up earlier than in production, so that a run ends.
# A worker lives for four seconds here, so a call may lose more of them than in production.
ENV = {"CALL_DEADLINE_S": "60", "GATEWAY_TIMEOUT_S": "20", "CALL_MAX_CLAIMS": "8"}


@dataclass(frozen=True)
class Options:
    """How a run is made."""

    calls: int
    seed: int
    clients: int = CLIENTS
    # Customers that are not done by then give up, which is a failure.
    time_limit_s: float = 1200.0
    # How long what is open afterwards may take to come to rest.
    rest_limit_s: float = 60.0
    # Done to the prepared stack before anything of it runs.
    prepare: Callable[[Stack], object] | None = None
    history: Path | None = None


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    findings: Findings
    figures: dict[str, Any]

    @property
    def is_green(self) -> bool:
        return bool(self.figures["passed"])


def run(options: Options) -> Result:
    """One run, start to end, in a database and a Redis database of its own."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        journal = Path(folder) / "executions.jsonl"
        with (
            _provider(journal, seed=options.seed) as provider,
            prepared(
                "saas_chaos",
                provider_url=provider.url,
                teams=TEAMS,
                models=[SLOW_MODEL],
                **ENV,
            ) as stack,
        ):
            if options.prepare is not None:
                options.prepare(stack)
            jobs = jobs_for(options.calls, seed=options.seed)
            storm: Storm
            customers: Customers
            storm = Storm(
                stack,
                seed=options.seed,
                progress=lambda: customers.calls_done / options.calls,
                ask_slowly=lambda: customers.ask_slowly(),
            )
            customers = Customers(
                {
                    team.team_id: Customer(storm.web.url, team_id=team.team_id, key=stack.keys[team.team_id])
                    for team in TEAMS
                },
                seed=options.seed,
                may_begin=storm.may_begin,
            )
            storm.start()
            try:
                is_done = customers.run(jobs, clients=options.clients, until=started + options.time_limit_s)
            finally:
                storm.stop()
            rest_s = _come_to_rest(stack, limit_s=options.rest_limit_s)
            findings = checker.check(
                stack,
                executions=_ended_executions(journal),
                history=customers.history,
                granted={team.team_id: team.credits for team in TEAMS},
            )
            if not is_done:
                findings.add("stuck", f"customers were not done in {options.time_limit_s:g} s")
            if options.history is not None:
                customers.history.write(options.history)
    kinds = ("lost", "double", "drift", "stuck", "anomaly")
    passed = findings.success_rate >= SUCCESS_LEAST and not any(findings.count(kind) for kind in kinds)
    figures = {
        "calls": findings.calls,
        "succeeded": findings.succeeded,
        "failed_by_provider": findings.excused,
        "success_rate": round(findings.success_rate, 4),
        "not_served": dict(findings.not_served),
        **{kind: findings.count(kind) for kind in kinds},
        "executions": findings.executions,
        "re_executions": findings.re_executions,
        "kills": storm.done["kill_worker"],
        "faults": dict(sorted(storm.done.items())),
        "given_up": customers.history.given_up,
        "rest_s": round(rest_s, 1),
        "seed": options.seed,
        "wall_s": round(time.monotonic() - started, 1),
        "passed": passed,
    }
    return Result(findings, figures)


@contextmanager
def _provider(journal: Path, *, seed: int) -> Iterator[Process]:
    options = ["--log", str(journal), "--seed", str(seed), "--fault-rate", str(FAULT_RATE)]
    provider = processes.start_fake_provider(*options, "--latency-ms", str(LATENCY_MS))
    try:
        yield provider
    finally:
        provider.kill()


def _come_to_rest(stack: Stack, *, limit_s: float) -> float:
    """Wait until nothing is open, or for so long. Returns how long it took."""
    started = time.monotonic()
    while checker.unsettled(stack) and time.monotonic() - started < limit_s:
        time.sleep(0.1)
    return time.monotonic() - started


def _ended_executions(journal: Path) -> list[Execution]:
    """The provider's journal once it has ended all that it began: its slowest answer takes seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        executions = read_journal(journal)
        if all(execution.outcome is not None for execution in executions):
            return executions
        time.sleep(0.1)
    raise TimeoutError("the provider still works on executions that it began")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--time-limit", type=float, default=Options.time_limit_s, metavar="SECONDS")
    parser.add_argument("--history", type=Path, help="write what customers did and saw, one JSON line each")
    options = parser.parse_args(arguments)
    if problem := services.postgres_problem() or services.redis_problem():
        print(f"PostgreSQL and Redis are needed: {problem}", file=sys.stderr)
        return 2
    result = run(
        Options(
            calls=options.calls,
            seed=options.seed,
            clients=options.clients,
            time_limit_s=options.time_limit,
            history=options.history,
        )
    )
    for kind, problems in result.findings.problems.items():
        for problem in problems[:SHOWN_PROBLEMS]:
            print(f"{kind}: {problem}", file=sys.stderr)
    print(json.dumps(result.figures))
    return 0 if result.is_green else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
