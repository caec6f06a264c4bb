"""What comes in, for REST framework's requests (see `core.bodies`): anything wrong is a clear 413 or 422."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from apps.core import bodies
from apps.core.bodies import Input, InvalidBody, JSONObject, Text255, load, validate

__all__ = ["Input", "InvalidBody", "JSONBodyParser", "JSONObject", "Text255", "json_body", "parse", "validate"]

M = TypeVar("M", bound=BaseModel)


class JSONBodyParser(BaseParser):
    """For `request.data`, where REST framework asks for it."""

    media_type = "application/json"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        return load(stream.read())


def parse(model: type[M], request: Request) -> M:
    """The body as `model`. Raises: InvalidBody, TooLarge."""
    return bodies.parse(model, request._request)


def json_body(request: Request) -> Any:
    """The body as JSON, an empty one as an object without fields. Raises: InvalidBody, TooLarge."""
    return bodies.json_body(request._request)
