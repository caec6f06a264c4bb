"""Answers are JSON, whatever the Accept header says: a client that reads `detail` must always find it."""

from collections.abc import Mapping
from typing import Any

import orjson
from django.http import HttpResponse
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from apps.core import json_bytes


class JSONRenderer(BaseRenderer):
    """UTF-8 JSON."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else json_bytes.dumps(data)


class AlwaysJSON(BaseContentNegotiation):
    """Takes the first parser and renderer: there is only one of each."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


def json_response(data: Any, *, status: int = 200) -> HttpResponse:
    """A JSON answer from outside REST framework's views."""
    return HttpResponse(orjson.dumps(data), status=status, content_type="application/json")
