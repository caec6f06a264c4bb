"""A few refusals, wherever they are shown."""

from collections.abc import Sequence

from apps.console import links
from apps.console.lists import columns
from apps.console.tables import Table
from apps.limits.models import Decision


def refusal_table(
    title: str, found: Sequence[Decision], empty: str, more_label: str = "", more_url: str = ""
) -> Table:
    return Table(
        title,
        (
            columns.ident("Refusal", lambda row: row.pk, lambda row: links.decision(row.pk)),
            columns.plain("Reason", lambda row: row.code.replace("_", " "), place="second"),
            columns.text("In words", lambda row: row.message),
            columns.text("Model", lambda row: row.model),
            columns.when("When", lambda row: row.created_at),
        ),
        found,
        empty,
        more_label,
        more_url,
    )
