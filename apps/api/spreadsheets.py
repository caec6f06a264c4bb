"""CSV answers: whether one is asked for, and rows as a file (`core.spreadsheets` writes them)."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.http import StreamingHttpResponse
from rest_framework.request import Request

from apps.api.fields import query_choice
from apps.core.spreadsheets import CONTENT_TYPE, lines


def is_wanted(request: Request) -> bool:
    """Whether the request asks for CSV, by `format=csv` or its Accept header. Raises: InvalidBody."""
    asked = query_choice(request, "format", ("csv", "json"))
    return asked == "csv" or (asked is None and "text/csv" in request.META.get("HTTP_ACCEPT", ""))


def response(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """Rows as a file of that name, written as they are read."""
    answer = StreamingHttpResponse(lines(header, rows), content_type=CONTENT_TYPE)
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["X-Content-Type-Options"] = "nosniff"
    return answer
