"""JSON schemas as providers take them with `strict`: Pydantic's have defaults and optional fields, which they refuse.

The rules are those of OpenAI's structured outputs: every object closed, every property required, no defaults. A
schema that cannot be put so (an object of any keys) is asked for without `strict`, rather than refused.
"""

from typing import Any

# Where schemas lie inside a schema.
_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLES = ("items", "not")


class _NotStrict(Exception):
    """Raised for what `strict` has no words for."""


def normalised(response_format: Any) -> Any:
    """`response_format` with a strict schema that providers take; anything else as it is. The given one stays."""
    if not isinstance(response_format, dict) or response_format.get("type") != "json_schema":
        return response_format
    wanted = response_format.get("json_schema")
    if not isinstance(wanted, dict) or not wanted.get("strict") or not isinstance(wanted.get("schema"), dict):
        return response_format
    try:
        closed = {**wanted, "schema": _strict(wanted["schema"])}
    except (_NotStrict, RecursionError):
        closed = {**wanted, "strict": False}
    return {**response_format, "json_schema": closed}


def _strict(schema: Any) -> Any:
    if not isinstance(schema, dict):
        if schema is True:
            # Anything goes.
            raise _NotStrict
        return schema
    found = {name: value for name, value in schema.items() if name != "default"}
    if "patternProperties" in found or isinstance(found.get("additionalProperties"), dict):
        raise _NotStrict
    if found.get("type") == "object" or "properties" in found:
        if found.get("additionalProperties") is True or not found.get("properties"):
            raise _NotStrict
        found["additionalProperties"] = False
        found["required"] = list(found["properties"])
    for name in _MAPS:
        if isinstance(found.get(name), dict):
            found[name] = {key: _strict(value) for key, value in found[name].items()}
    for name in _LISTS:
        if isinstance(found.get(name), list):
            found[name] = [_strict(value) for value in found[name]]
    for name in _SINGLES:
        if name in found:
            found[name] = _strict(found[name])
    if "$ref" in found and len(found) > 1:
        # A reference stands alone there: what is said beside it (a description) is left out.
        found = {"$ref": found["$ref"]}
    return found
