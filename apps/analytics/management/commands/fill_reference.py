"""`manage.py fill_reference`: a database of the size at which pages are measured."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from apps.analytics import reference, rollups
from apps.core import commands


class Command(commands.Command):
    help = (
        "Fill an empty PostgreSQL database with reference data: jobs, calls, a ledger that adds up, refusals. For"
        " measuring lists and the dashboard. Refuses a database that has organizations."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        for name, default in (("calls", 10_000_000), ("jobs", 0), ("teams", 2_000), ("keys", 20_000), ("days", 90)):
            parser.add_argument(f"--{name}", type=int, default=default)
        parser.add_argument("--no-rollups", action="store_true", help="leave the rollups to `manage.py rollups fill`")

    def run(self, **options: Any) -> None:
        calls = options["calls"]
        # Of 10 million calls, 3 million jobs.
        jobs = options["jobs"] or max(1, calls * 3 // 10)
        size = reference.Size(calls, jobs, options["teams"], options["keys"], options["days"])
        if min(size.calls, size.jobs, size.teams, size.keys, size.days) < 1:
            raise CommandError("Each figure is 1 or more.")
        began = time.monotonic()

        def say(step: str) -> None:
            self.stdout.write(f"{time.monotonic() - began:6.1f} s  {step}")
            self.stdout.flush()

        try:
            reference.fill(size, progress=say)
        except reference.NotEmpty as error:
            raise CommandError(str(error)) from error
        while not options["no_rollups"] and rollups.fill().is_behind:
            say(f"rollups up to {rollups.filled_until():%Y-%m-%d}")
        say("done")
