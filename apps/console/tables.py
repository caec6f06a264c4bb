"""Short tables on objects' pages: the columns of lists, a title, and what is said when there are no rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apps.console.lists.columns import Column

SHOWN_MAX = 100


@dataclass(frozen=True, slots=True)
class Table:
    """`empty` is its sentence without rows. `more` leads to the whole list."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Any]
    empty: str
    more_label: str = ""
    more_url: str = ""
    note: str = ""

    @property
    def cells(self) -> list[list[tuple[Column, Any]]]:
        return [[(column, column.show(row)) for column in self.columns] for row in self.rows]
