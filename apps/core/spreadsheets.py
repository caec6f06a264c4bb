"""CSV (RFC 4180, UTF-8) that a spreadsheet opens as what it is: text is never taken for a formula (ASVS 1.2.10)."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

# What makes a spreadsheet compute a cell, or drop the character and look at the next.
_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\x00")
_ROWS_AT_ONCE = 200
CONTENT_TYPE = "text/csv; charset=utf-8; header=present"


class Number(str):
    """A number as it is to be written, which is no text: a negative one stays a number."""

    __slots__ = ()


def cell(value: Any) -> str:
    """A value as a cell: text that would be taken for a formula begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, Number | int):
        return str(value)
    text = str(value)
    return f"'{text}" if text.startswith(_STARTS_FORMULA) else text


def lines(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """The header and the rows, encoded, some at a time as they are read."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(header)
    for number, row in enumerate(rows, 1):
        writer.writerow([cell(value) for value in row])
        if number % _ROWS_AT_ONCE == 0:
            yield _taken(written)
    yield _taken(written)


def _taken(written: io.StringIO) -> bytes:
    text = written.getvalue()
    written.seek(0)
    written.truncate()
    return text.encode()
