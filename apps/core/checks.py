"""System checks that need the database: the append-only triggers exist."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register

from apps.core import append_only


@register(Tags.database)
def append_only_triggers_exist(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """A ledger or audit table without its triggers is a ledger that can be edited."""
    if not databases:
        return []
    return [
        Error(
            f"The append-only trigger {name} is missing.",
            hint="Run `manage.py migrate`, which installs it again.",
            id="core.E001",
        )
        for name in append_only.missing_of_existing_tables()
    ]
