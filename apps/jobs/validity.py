"""Whether an answer is what its `response_format` asked for, and whether a schema can be asked for at all. Pure.

Source: JSON Schema, draft 2020-12 unless a schema names another. References are followed inside a schema only.
"""

from typing import Any

import orjson
from jsonschema import SchemaError, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import Draft202012Validator, validator_for
from referencing.exceptions import Unresolvable

from apps.core.errors import InvalidField


def require_usable(body: dict[str, Any]) -> None:
    """Raises: InvalidField for a tool or a response format whose schema is no JSON schema."""
    for index, tool in enumerate(body.get("tools") or []):
        function = tool.get("function")
        if isinstance(function, dict) and "parameters" in function:
            _require_schema(f"tools[{index}].function.parameters", "tools", function["parameters"])
    schema = schema_of(body.get("response_format"))
    if schema is not None:
        _require_schema("response_format.json_schema.schema", "response_format", schema)


def schema_of(response_format: Any) -> Any:
    """The schema that an answer is to fit, None when none is asked for."""
    if not isinstance(response_format, dict) or response_format.get("type") != "json_schema":
        return None
    wanted = response_format.get("json_schema")
    return wanted.get("schema") if isinstance(wanted, dict) else None


def is_json_wanted(response_format: Any) -> bool:
    """Whether an answer is to be JSON, of a schema or of any shape."""
    return isinstance(response_format, dict) and response_format.get("type") in ("json_object", "json_schema")


def problem(response: str, response_format: Any) -> str:
    """Where a stored answer differs from what was asked for, empty when it fits. The answer's text is not in it."""
    schema = schema_of(response_format)
    for choice in orjson.loads(response).get("choices") or []:
        message = choice["message"]
        if message.get("tool_calls"):
            continue
        try:
            answer = orjson.loads(message.get("content") or "")
        except orjson.JSONDecodeError:
            return "it is no JSON"
        if schema is None:
            if not isinstance(answer, dict):
                return "it is no JSON object"
            continue
        try:
            found = best_match(_validator(schema).iter_errors(answer))
        except (Unresolvable, RecursionError):
            # Of a schema that cannot be followed nothing can be said.
            return ""
        if found is not None:
            return _where(found)
    return ""


def _require_schema(param: str, field: str, schema: Any) -> None:
    if not isinstance(schema, dict):
        raise InvalidField(field, f"{param} must be a JSON schema, which is an object.")
    try:
        _validator(schema).check_schema(schema)
    except SchemaError as error:
        place = "".join(f".{part}" for part in error.absolute_path)
        raise InvalidField(field, f"{param}{place} is no JSON schema: {error.message[:200]}") from None
    except (Unresolvable, RecursionError):
        raise InvalidField(field, f"{param} cannot be followed as a JSON schema.") from None


def _validator(schema: dict[str, Any]) -> Any:
    return validator_for(schema, default=Draft202012Validator)(schema)


def _where(error: ValidationError) -> str:
    path = ".".join(str(part) for part in error.absolute_path) or "the whole answer"
    return f"{path} does not fit '{error.validator}'"
