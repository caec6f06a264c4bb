"""Kinds of fields that several requests have, and refusals of query parameters in the same form as of bodies."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

import orjson
from django.conf import settings
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints, WithJsonSchema
from rest_framework.request import Request

from apps.api.parsing import Input, InvalidBody, JSONObject, json_body, validate
from apps.core import clock
from apps.core.money import MAX_CREDITS


def _fits(value: JSONObject) -> JSONObject:
    size = len(orjson.dumps(value))
    if size > settings.METADATA_MAX_BYTES:
        raise ValueError(f"Metadata may have {settings.METADATA_MAX_BYTES} bytes as JSON, this has {size}")
    return value


_MAX_AHEAD = timedelta(days=36_525)


def _in_the_future(value: AwareDatetime) -> AwareDatetime:
    if not clock.now() < value < clock.now() + _MAX_AHEAD:
        raise ValueError("Must be in the future, by at most 100 years")
    return value


def exact_number(value: Any) -> Decimal:
    """A JSON number without a float's noise: its shortest decimal spelling is what was written."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("Input should be a number")
    return Decimal(str(value))


Credits = Annotated[int, Field(ge=0, le=MAX_CREDITS)]
# Not strict: JSON has instants as text.
FutureInstant = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_in_the_future)]
Label = Annotated[str, StringConstraints(max_length=255)]
Metadata = Annotated[JSONObject, AfterValidator(_fits)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Names = Annotated[list[Name], Field(max_length=1000)]
Rate = Annotated[Decimal, BeforeValidator(exact_number), WithJsonSchema({"type": "number"}, mode="validation")]
Reason = Annotated[str, StringConstraints(max_length=500)]


class ReasonInput(Input):
    """Why something is done; the body may be left out."""

    reason: Reason | None = None


class _NamesInput(Input):
    names: Names


def names_of(request: Request, field: str) -> list[str]:
    """A list of names, as a bare array or as the field of an object. Raises: InvalidBody."""
    body = json_body(request)
    names = body.get(field) if isinstance(body, dict) else body
    if isinstance(body, dict) and field not in body:
        raise InvalidBody([_error("missing", ["body", field], "Field required", None)])
    try:
        return validate(_NamesInput, {"names": names}).names
    except InvalidBody as error:
        for item in error.errors:
            item["loc"] = ["body", field, *item["loc"][2:]]
        raise


def query_error(name: str, message: str, *, kind: str = "value_error", value: str | None = None) -> InvalidBody:
    """The refusal of a query parameter."""
    return InvalidBody([_error(kind, ["query", name], message, value and value[:100])])


def query_choice(request: Request, name: str, choices: Sequence[str]) -> str | None:
    """A query parameter that is one of these words, None without it. Raises: InvalidBody."""
    value: str | None = request.GET.get(name)
    if value is not None and value not in choices:
        raise query_error(name, f"Must be one of: {', '.join(choices)}", kind="enum", value=value)
    return value


def query_flag(request: Request, name: str) -> bool | None:
    """A query parameter that is true or false, None without it. Raises: InvalidBody."""
    value = query_choice(request, name, ("true", "false"))
    return None if value is None else value == "true"


def query_text(request: Request, name: str) -> str | None:
    """A query parameter that names something, None without it. Raises: InvalidBody for what can be no name."""
    value: str | None = request.GET.get(name)
    if value is not None and not (1 <= len(value) <= 255 and "\x00" not in value):
        raise query_error(name, "Must be text of 1 to 255 characters", value=value)
    return value


def _error(kind: str, loc: list[Any], message: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "loc": loc, "msg": message, "input": value}
