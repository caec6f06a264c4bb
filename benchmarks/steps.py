"""The call path step by step: database round trips, milliseconds and CPU of each, as a Markdown table.

Makes a temporary database and a fake provider, then starts `benchmarks.chain` with production's settings. With
`--profile`, the costliest functions of each step instead.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.stack import ROOT, Plan, production_env, provisioned
from tests.harness import processes, services
from tests.harness.processes import NotReady


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--profile", action="store_true", help="Python's profiler over each step")
    options = parser.parse_args(arguments)
    if not services.reachable():
        services.main()
        return 2
    # One connection, so that a step's statements are all that pass over it.
    plan = Plan(teams=1, settings={"DB_POOL_MIN": "1", "DB_POOL_MAX": "1"})
    with ExitStack() as cleanup:
        provider = processes.start_fake_provider()
        cleanup.callback(provider.kill)
        env = production_env(
            plan,
            database_url=cleanup.enter_context(services.temporary_database("saas_bench")),
            redis_url=cleanup.enter_context(services.free_redis_db()),
            provider_url=provider.url,
        )
        try:
            [(team_id, secret)] = provisioned(env, teams=1)
        except NotReady as problem:
            print(problem, file=sys.stderr)
            return 2
        command = [sys.executable, "-m", "benchmarks.chain", str(options.runs), secret, team_id]
        command += ["--profile"] if options.profile else []
        done = subprocess.run(command, cwd=ROOT, env=processes.environment(env), check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
