"""Request bodies of every edge: JSON within limits, checked by a Pydantic model.

What is wrong is a list of {type, loc, msg, input}, Pydantic's own form; each edge shows it as its protocol does.
"""

from io import BytesIO
from typing import Annotated, Any, ClassVar, TypeVar

import orjson
from django.conf import settings
from django.http import HttpRequest
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from apps.core import crypto
from apps.core.errors import InvalidField, TooLarge

M = TypeVar("M", bound=BaseModel)

Text255 = Annotated[str, StringConstraints(min_length=1, max_length=255)]
JSONObject = dict[str, Any]


class Input(BaseModel):
    """A request body. Unknown fields are ignored, as clients of all generations send some.

    What `secret_fields` were given is not repeated by an error about them.
    """

    model_config = ConfigDict(extra="ignore", strict=True)
    secret_fields: ClassVar[frozenset[str]] = frozenset()


class InvalidBody(InvalidField):
    """The request's fields are wrong, with all of them listed."""

    code = "invalid_request_body"

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__("", errors[0]["msg"])
        self.errors = errors


def raw_body(request: HttpRequest) -> bytes:
    """The body's bytes. Raises: TooLarge past MAX_BODY_BYTES, before reading any of it."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > settings.MAX_BODY_BYTES:
        raise TooLarge(f"The request body may have {settings.MAX_BODY_BYTES} bytes.")
    return request.body


def forget(request: HttpRequest) -> None:
    """Let go of the body, which an answer in pieces would keep until its end. It reads as empty afterwards."""
    request._body = b""
    request._stream = BytesIO()


def fingerprint(request: HttpRequest) -> str:
    """SHA-256 of method, path and body. Raises: TooLarge."""
    return crypto.fingerprint(str(request.method).encode(), request.get_full_path().encode(), raw_body(request))


def parse(model: type[M], request: HttpRequest) -> M:
    """The body as `model`. Raises: InvalidBody, TooLarge."""
    return validate(model, json_body(request))


def json_body(request: HttpRequest) -> Any:
    """The body as JSON, an empty one as an object without fields. Raises: InvalidBody, TooLarge."""
    content_type = request.META.get("CONTENT_TYPE", "").split(";")[0].strip().lower()
    body = raw_body(request)
    if content_type not in ("", "application/json") and not content_type.endswith("+json"):
        raise InvalidBody(
            [
                _error(
                    "content_type",
                    [],
                    f"Expected a JSON body with Content-Type application/json, not {content_type}",
                )
            ]
        )
    return load(body) if body else {}


def validate(model: type[M], data: Any, *, where: str = "body") -> M:
    """`data` as `model`. Raises: InvalidBody."""
    if not isinstance(data, dict):
        raise InvalidBody([_error("model_attributes_type", [], "Input should be a JSON object", where=where)])
    secret: frozenset[str] = getattr(model, "secret_fields", frozenset())
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InvalidBody(
            [
                {
                    "type": item["type"],
                    "loc": [where, *item["loc"]],
                    "msg": item["msg"],
                    "input": None if secret.intersection(item["loc"]) else _echo(item["input"]),
                }
                for item in error.errors(include_url=False, include_context=False)
            ]
        ) from None


def load(body: bytes) -> Any:
    """JSON within our depth limit and without NUL characters, which no database of ours can store.

    Raises: InvalidBody.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidBody([_error("json_invalid", [error.pos], f"JSON decode error: {error.msg}")]) from None
    _check(data, may_have_nul=b"\\u0000" in body)
    return data


def _check(data: Any, *, may_have_nul: bool) -> None:
    """Walk level by level, not recursively: the depth is what is in question."""
    level = [data]
    for _ in range(settings.MAX_JSON_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                if may_have_nul:
                    below.extend(value.keys())
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif may_have_nul and isinstance(value, str) and "\x00" in value:
                raise InvalidBody([_error("string_nul", [], "Text may not contain NUL characters")])
        if not below:
            return
        level = below
    raise InvalidBody([_error("json_depth", [], f"JSON may be nested {settings.MAX_JSON_DEPTH} levels deep")])


def _error(kind: str, loc: list[Any], message: str, *, where: str = "body") -> dict[str, Any]:
    return {"type": kind, "loc": [where, *loc], "msg": message, "input": None}


def _echo(value: Any) -> Any:
    """The wrong value, if it is small: an error is no place for a 20 MB prompt."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value[:200]
    return None
