"""`manage.py sweep`: one run of the sweeper, by hand."""

from typing import Any

from apps.core import commands
from apps.jobs import sweeper


class Command(commands.Command):
    help = "Resume, take over, expire and clean up what is due. Safe to run at any time, beside the scheduled runs."

    def run(self, **options: Any) -> None:
        self.stdout.write(str(sweeper.run()))
