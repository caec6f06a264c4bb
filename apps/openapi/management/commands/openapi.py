"""`manage.py openapi`: write docs/openapi.json, the committed copy of what /openapi.json serves."""

from typing import Any

from apps.core import commands
from apps.openapi import document


class Command(commands.Command):
    help = "Write docs/openapi.json."
    requires_system_checks: list[str] = []

    def run(self, **options: Any) -> None:
        document.COMMITTED.write_bytes(document.document_json())
        self.stdout.write(f"{document.COMMITTED.relative_to(document.COMMITTED.parent.parent)} written")
