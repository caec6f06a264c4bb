"""`manage.py close_period`: close a month's books."""

from argparse import ArgumentParser
from typing import Any

from apps.core import commands
from apps.core.actors import COMMAND
from apps.credits import periods


class Command(commands.Command):
    help = (
        "Close a month (of UTC): seal its entries, and record every account's last one and balance. Months are"
        " closed in order; a closed one stays as it is."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("period", help="the month as YYYY-MM")

    def run(self, **options: Any) -> None:
        period, was_closed = periods.close(options["period"], actor=COMMAND)
        accounts = period.balances.count()
        self.stdout.write(f"{period}{' (before)' if was_closed else ''}: {accounts} accounts")
