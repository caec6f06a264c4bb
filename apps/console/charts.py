"""Charts: figures with a sentence that says what they show, drawn by Chart.js and readable as a table.

A bar or point links to exactly the rows that make it up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

# At most so many series, and Other; the same series has the same colour on every page.
SERIES_MAX = 8


@dataclass(frozen=True, slots=True)
class Series:
    """One line or one colour of bars. `shown` are the values in words, for the table."""

    label: str
    values: Sequence[float | None]
    shown: Sequence[str]
    color: int = 0


@dataclass(frozen=True, slots=True)
class Chart:
    """`kind` is bar, stacked or line. `links` has one address a label, or none. `summary` is read aloud."""

    id: str
    title: str
    kind: Literal["bar", "stacked", "line", "step"]
    labels: Sequence[str]
    series: Sequence[Series]
    summary: str
    unit: str = ""
    links: Sequence[str] = ()
    note: str = ""
    empty: str = "Nothing in this period."
    height: int = field(default=220)

    @property
    def is_empty(self) -> bool:
        return not any(value for series in self.series for value in series.values)

    @property
    def rows(self) -> list[tuple[str, str, list[str]]]:
        """Label, link and the shown value of each series."""
        links = list(self.links) or [""] * len(self.labels)
        return [
            (label, links[index], [series.shown[index] for series in self.series])
            for index, label in enumerate(self.labels)
        ]

    def data(self) -> dict[str, Any]:
        """What console.js draws."""
        return {
            "kind": self.kind,
            "labels": list(self.labels),
            "links": list(self.links),
            "unit": self.unit,
            "series": [
                {
                    "label": series.label,
                    "values": list(series.values),
                    "shown": list(series.shown),
                    "color": series.color or index + 1,
                }
                for index, series in enumerate(self.series)
            ],
        }
