"""Random histories of wallets, for what must hold of every ledger."""

from datetime import datetime
from typing import Any

from hypothesis import strategies as st

from apps.core import append_only
from apps.core.errors import DomainError
from apps.credits.models import Entry
from apps.teams.models import Team
from tests.credits import books

# What is done, to which of two teams, and with how many credits.
steps = st.lists(
    st.tuples(
        st.sampled_from(["give", "give", "spend", "spend", "refund", "take_back", "adjust", "hold"]),
        st.integers(0, 1),
        st.integers(1, 6),
    ),
    max_size=25,
)


def play(teams: list[Team], done: list[tuple[str, int, int]], *, run: str) -> None:
    """Do the steps; those that the ledger refuses change nothing."""
    for number, (operation, which, credits) in enumerate(done):
        team, name = teams[which], f"{run}-{number}"
        try:
            _do(operation, team, credits, name)
        except DomainError:
            continue


def _do(operation: str, team: Team, credits: int, name: str) -> Any:
    if operation == "give":
        return books.give(team, credits, key=name)
    if operation == "spend":
        return books.spend(team, credits, job=name)
    if operation == "hold":
        return books.hold(team, credits, job=name)
    if operation == "adjust":
        return books.adjust(team, credits, key=name)
    kind, side = ("charge", "debit") if operation == "refund" else ("grant", "credit")
    entry = Entry.objects.filter(kind=kind, **{f"{side}_account__team": team}).last()
    return books.reverse(entry, min(credits, entry.amount_micros // books.CREDIT), key=name) if entry else None


def date_all(entries: Any, at: datetime) -> None:
    """Let entries have been written at that instant."""
    with append_only.lifted():
        entries.update(created_at=at)
