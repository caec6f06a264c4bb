"""`manage.py setup_code`: the code that /admin/setup/ asks for, printed again."""

from typing import Any

from django.core.management.base import CommandError

from apps.core import commands
from apps.organizations import first_owner


class Command(commands.Command):
    help = "Print the code that /admin/setup/ asks for. There is none once the platform has an owner."

    def run(self, **options: Any) -> None:
        if first_owner.exists():
            raise CommandError(
                "The platform has an owner: set-up is closed. `manage.py createsuperuser` makes another."
            )
        self.stdout.write(first_owner.setup_code())
