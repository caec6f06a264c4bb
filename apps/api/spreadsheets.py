"""CSV answers (RFC 4180, UTF-8) that a spreadsheet opens as what they are: text is never taken for a formula."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.http import StreamingHttpResponse
from rest_framework.request import Request

from apps.api.fields import query_choice

# What makes a spreadsheet compute a cell, or drop the character and look at the next.
_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_ROWS_AT_ONCE = 200


class Number(str):
    """A number as it is to be written, which is no text: a negative one stays a number."""

    __slots__ = ()


def is_wanted(request: Request) -> bool:
    """Whether the request asks for CSV, by `format=csv` or its Accept header. Raises: InvalidBody."""
    asked = query_choice(request, "format", ("csv", "json"))
    return asked == "csv" or (asked is None and "text/csv" in request.META.get("HTTP_ACCEPT", ""))


def response(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """Rows as a file of that name, written as they are read."""
    answer = StreamingHttpResponse(_lines(header, rows), content_type="text/csv; charset=utf-8; header=present")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["X-Content-Type-Options"] = "nosniff"
    return answer


def cell(value: Any) -> str:
    """A value as a cell: text that would be taken for a formula begins with an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, Number | int):
        return str(value)
    text = str(value)
    return f"'{text}" if text.startswith(_STARTS_FORMULA) else text


def _lines(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
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
