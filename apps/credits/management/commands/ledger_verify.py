"""`manage.py ledger_verify`: re-derive every balance, hold, sequence, grant and job total."""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.db import DatabaseError

from apps.core import commands, verification


class Command(commands.Command):
    help = (
        "Re-derive every balance, hold, sequence, grant and job total in one read-only snapshot, and print what"
        " differs. Exits 1 when anything does; the outcome is noted as an event. Safe beside live traffic."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")

    def run(self, **options: Any) -> None:
        report = verification.verify()
        self._note(report)
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json()))
        else:
            for difference in report.differences:
                self.stdout.write(str(difference))
            self.stdout.write(str(report))
        if report.differences:
            sys.exit(1)

    def _note(self, report: verification.Report) -> None:
        """For who looks at the console later. A replica can be verified too, and takes no note."""
        try:
            verification.note(report)
        except DatabaseError as error:
            self.stderr.write(f"The outcome was not noted: {type(error).__name__}")
