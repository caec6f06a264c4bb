"""`manage.py migrate`: Django's own, which does not ask for the triggers that it is about to install."""

from typing import Any

from django.core.management.commands import migrate

from apps.core import append_only


class Command(migrate.Command):
    def check(self, *args: Any, **options: Any) -> None:
        # A table of an older release that becomes append-only has none yet: the upgrade could not begin.
        with append_only.to_be_installed():
            super().check(*args, **options)
