"""`manage.py rollups`: fill the rollups, or build those of some days anew."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError

from apps.analytics import rollups
from apps.core import commands


class Command(commands.Command):
    help = (
        "fill: bring the rollups up to now, however far behind they are. rebuild: sum days of UTC up anew, from the"
        " rows that are still there. Both are safe beside live traffic."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("fill")
        rebuild = actions.add_parser("rebuild")
        rebuild.add_argument("--from", dest="since", required=True, metavar="YYYY-MM-DD", help="the first day")
        rebuild.add_argument("--to", dest="until", required=True, metavar="YYYY-MM-DD", help="the last day")

    def run(self, **options: Any) -> None:
        if options["action"] == "fill":
            self._fill()
        else:
            self._rebuild(_day("from", options["since"]), _day("to", options["until"]))

    def _fill(self) -> None:
        while True:
            filled = rollups.fill()
            until = rollups.filled_until()
            self.stdout.write(f"{filled}, up to {until:%Y-%m-%d %H:%M}" if until else str(filled))
            if not filled.is_behind:
                return

    def _rebuild(self, since: datetime, until: datetime) -> None:
        if until < since:
            raise CommandError("--to is before --from: name the first day first.")
        if rollups.filled_until() is None:
            raise CommandError("Nothing was filled yet. Run `manage.py rollups fill` first.")
        filled = rollups.rebuild(
            since, until + rollups.DAY, progress=lambda day: self.stdout.write(f"{day:%Y-%m-%d}")
        )
        self.stdout.write(str(filled))


def _day(name: str, text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise CommandError(f"--{name}: {text} is no day. Write it as YYYY-MM-DD.") from error
