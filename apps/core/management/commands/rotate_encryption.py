"""`manage.py rotate_encryption`: the second step of changing ENCRYPTION_KEY (docs/deployment.md)."""

from typing import Any

from django.core.management.base import CommandError

from apps.core import commands, encryption
from apps.core.actors import COMMAND


class Command(commands.Command):
    help = (
        "Encrypt every stored secret anew with the newest of ENCRYPTION_KEY, so that the older ones can go. Run it"
        " once all processes have the new key. Safe to run again."
    )

    def run(self, **options: Any) -> None:
        done = encryption.rotate(actor=COMMAND)
        for each in done:
            self.stdout.write(f"{each.column}: {each.renewed} of {each.stored} encrypted anew")
        lost = [f"{each.column} {pk}" for each in done for pk in each.unreadable]
        if lost:
            raise CommandError(f"No key of ENCRYPTION_KEY decrypts these, which stay as they are: {', '.join(lost)}")
