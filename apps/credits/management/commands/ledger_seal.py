"""`manage.py ledger_seal`: hash what is not hashed yet."""

from argparse import ArgumentParser
from typing import Any

from apps.core import commands
from apps.credits import sealing


class Command(commands.Command):
    help = (
        "Seal every entry that is not sealed yet, so that `ledger_verify` finds a change of it. The sweeper does so"
        " in the background. Safe beside live traffic."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--heads", action="store_true", help="print each account's newest hash, to be kept elsewhere"
        )

    def run(self, **options: Any) -> None:
        made = sealing.seal_all()
        if not options["heads"]:
            self.stdout.write(f"{made} blocks sealed")
            return
        for account_id, block in sealing.heads():
            self.stdout.write(f"{account_id} {block.last_seq} {block.hash}")
