"""`make bench`: calls a second, latency and CPU a call of the running system, on PostgreSQL and Redis.

Web, one worker and beat run as real processes against a provider that answers at once; `ledger-hot` and `ledger-wide`
are the ledger alone, beside SQL written by hand. 0: done; 1: a call went wrong, so the figures mean nothing; 2: it
could not be run.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import compare, ledger, report
from benchmarks.load import WORKLOADS
from benchmarks.measure import LoadFailed, Window, measure, running_load
from benchmarks.sampler import NoSampler, sampler
from benchmarks.stack import Plan, running_stack
from tests.harness import processes, services
from tests.harness.processes import NotReady


def main(arguments: Sequence[str]) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.compare and options.workload and not _windows(options):
        parser.error("--compare is of calls; the ledger is compared with SQL written by hand in every run.")
    if not services.reachable():
        services.main()
        return 2
    try:
        return _compare(options) if options.compare else _measure(options)
    except (NotReady, LoadFailed, NoSampler, compare.NoSuchCommit) as problem:
        print(problem, file=sys.stderr)
        return 2


def _measure(options: argparse.Namespace) -> int:
    windows, of_ledger = _windows(options), _ledger_workloads(options)
    rows: list[report.Row] = []
    found: dict[str, Any] = {}
    if windows:
        rows = _measure_calls(options, windows)
    if of_ledger:
        _say(options, f"{', '.join(of_ledger)} …")
        found = ledger.measure(of_ledger, options.clients, seconds=options.seconds, wallets=options.wallets)
    if options.json:
        print(
            json.dumps({"setup": _setup(options), "rows": [row.as_json() for row in rows], "ledger": found}, indent=2)
        )
    elif of_ledger:
        print(f"\n{ledger.table(found)}")
    for difference in found.get("differences", []):
        print(difference, file=sys.stderr)
    return verdict(rows) or int(bool(found.get("differences")))


def _measure_calls(options: argparse.Namespace, windows: Sequence[Window]) -> list[report.Row]:
    with ExitStack() as cleanup:
        # Before anything is started: a missing sampler should not cost half a minute.
        sampling = sampler(options.profile) if options.profile else None
        provider = processes.start_fake_provider()
        cleanup.callback(provider.kill)
        stack = cleanup.enter_context(running_stack(_plan(options), provider_url=provider.url))
        load = cleanup.enter_context(running_load())
        rows = []
        for window in windows:
            _say(options, f"{window.workload}, {window.clients} clients, {window.seconds:g} s …")
            rows.append(measure(stack, load, provider, window, sampler=sampling))
        if any(row.errors for row in rows):
            print(stack.log_tails(), file=sys.stderr)
    if not options.json:
        print(_heading(options), report.table(rows), report.notes(rows), sep="\n\n")
    if sampling is not None:
        print(
            f"\nWhere {options.profile} spends its CPU (the figures above suffer from looking):\n{sampling.table()}"
        )
    return rows


def _compare(options: argparse.Namespace) -> int:
    with ExitStack() as cleanup:
        provider = processes.start_fake_provider()
        cleanup.callback(provider.kill)
        stacks = cleanup.enter_context(
            compare.running_pair(options.compare, _plan(options), provider_url=provider.url)
        )
        load = cleanup.enter_context(running_load())
        found = []
        for window in _windows(options):
            _say(options, f"{window.workload}, {window.clients} clients, {options.pairs} pairs …")
            found.append((window, compare.measure_pairs(stacks, load, provider, window, pairs=options.pairs)))
    rows = [row for _, pairs in found for pair in pairs for row in pair]
    if options.json:
        print(json.dumps(_compared(options, found), indent=2))
    else:
        print(f"{_heading(options)}\nbefore: {options.compare}, after: this tree; {options.pairs} pairs of windows.")
        for window, pairs in found:
            title = f"{window.workload}, {window.clients} clients (errors: {sum(r.errors for p in pairs for r in p)})"
            print(f"\n{title}\n{report.ratio_table(report.ratios(pairs))}")
    return verdict(rows)


def _compared(
    options: argparse.Namespace, found: Sequence[tuple[Window, Sequence[tuple[report.Row, report.Row]]]]
) -> dict[str, Any]:
    return {
        "setup": _setup(options) | {"before": options.compare},
        "compared": [
            {
                "workload": window.workload,
                "clients": window.clients,
                "ratios": report.ratios(pairs),
                "pairs": [[row.as_json() for row in pair] for pair in pairs],
            }
            for window, pairs in found
        ],
    }


def _windows(options: argparse.Namespace) -> list[Window]:
    return [
        Window(workload, clients, seconds=options.seconds, warmup_s=options.warmup)
        for workload in options.workload or WORKLOADS
        if workload in WORKLOADS
        for clients in options.clients
    ]


def _ledger_workloads(options: argparse.Namespace) -> list[str]:
    return [workload for workload in options.workload or ledger.WORKLOADS if workload in ledger.WORKLOADS]


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        server=options.web,
        web_threads=options.web_threads,
        worker_threads=options.worker_threads,
        teams=1 if options.hot else options.teams,
    )


def verdict(rows: Sequence[report.Row]) -> int:
    """The exit code, after saying what went wrong."""
    for row in rows:
        for sample in row.error_samples:
            print(f"{row.workload}, {row.clients} clients: {sample}", file=sys.stderr)
    return 1 if any(row.errors or not row.calls for row in rows) else 0


def _say(options: argparse.Namespace, text: str) -> None:
    if not options.json:
        print(text, file=sys.stderr, flush=True)


def _setup(options: argparse.Namespace) -> dict[str, Any]:
    plan = _plan(options)
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "web": plan.server,
        "web_threads": plan.web_threads,
        "worker_threads": plan.worker_threads,
        "teams": plan.teams,
        "seconds": options.seconds,
    }


def _heading(options: argparse.Namespace) -> str:
    plan = _plan(options)
    return (
        f"Python {platform.python_version()}, {os.cpu_count()} cores; {plan.server} with 1 process of"
        f" {plan.web_threads} threads, 1 worker of {plan.worker_threads} threads, beat; {plan.teams}"
        f" team{'s' if plan.teams > 1 else ''}; provider answers in 0 ms; windows of {options.seconds:g} s."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each window")
    parser.add_argument("--warmup", type=float, default=3.0, help="seconds of the same load before each window")
    parser.add_argument("--clients", type=_numbers, default=[1, 64], help="comma-separated, e.g. 1,64")
    parser.add_argument(
        "--workload", action="append", choices=[*WORKLOADS, *ledger.WORKLOADS], help="repeatable; all by default"
    )
    parser.add_argument("--teams", type=int, default=64)
    parser.add_argument("--wallets", type=int, default=ledger.WALLETS, help="of ledger-wide")
    parser.add_argument("--hot", action="store_true", help="one team: all clients on one wallet")
    parser.add_argument("--web", choices=["granian", "gunicorn"], default="granian")
    parser.add_argument("--web-threads", type=int, default=Plan().web_threads)
    parser.add_argument("--worker-threads", type=int, default=Plan().worker_threads)
    parser.add_argument("--compare", metavar="GITREF", help="this tree against that commit, as ratios")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of windows with --compare")
    parser.add_argument("--profile", choices=["web", "worker"], help="sample that process with py-spy")
    parser.add_argument("--json", action="store_true")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
