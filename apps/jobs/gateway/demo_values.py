"""A small value that validates against a JSON Schema, for those that Pydantic writes.

Not served: `not`, `if`, `patternProperties`, and a `pattern` that none of a list of simple texts matches.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any

from apps.jobs.gateway import failures

_FORMATS = {
    "date-time": "2026-01-{day:02d}T12:00:00Z",
    "date": "2026-01-{day:02d}",
    "time": "12:00:{day:02d}Z",
    "duration": "PT{day}H",
    "email": "person{day}@example.com",
    "idn-email": "person{day}@example.com",
    "name-email": "person{day}@example.com",
    "uri": "https://example.com/{day}",
    "uri-reference": "https://example.com/{day}",
    "hostname": "host{day}.example.com",
    "ipv4": "192.0.2.{day}",
    "ipv6": "2001:db8::{day}",
    "ipvanyaddress": "192.0.2.{day}",
    "ipv4network": "192.0.2.{day}/32",
    "ipv6network": "2001:db8::{day}/128",
    "ipvanynetwork": "192.0.2.{day}/32",
    "ipv4interface": "192.0.2.{day}/24",
    "ipv6interface": "2001:db8::{day}/64",
    "ipvanyinterface": "192.0.2.{day}/24",
    "json-string": "{day}",
    "base64": "ZGVtbw==",
    "base64url": "ZGVtbw==",
    "uuid": "00000000-0000-4000-8000-0000000000{day:02d}",
    "uuid1": "00000000-0000-1000-8000-0000000000{day:02d}",
    "uuid3": "00000000-0000-3000-8000-0000000000{day:02d}",
    "uuid4": "00000000-0000-4000-8000-0000000000{day:02d}",
    "uuid5": "00000000-0000-5000-8000-0000000000{day:02d}",
    "uuid6": "00000000-0000-6000-8000-0000000000{day:02d}",
    "uuid7": "00000000-0000-7000-8000-0000000000{day:02d}",
    "uuid8": "00000000-0000-8000-8000-0000000000{day:02d}",
}
# Tried in turn where a pattern is asked for.
_SIMPLE_TEXTS = [
    *(letter * length for length in range(1, 17) for letter in ("a", "A", "1", "0")),
    "a1", "A1", "Aa", "AA-11", "AAA-111", "AAA-1111", "ABC-123", "AB12CD", "1.0", "1.0.0",
    "#a1a1a1", "-1", "+10000000000", "2026-01-01", "12:00", "a@example.com", "https://example.com",
    "a-a", "a_a", "a b", "", "$1.00",
]  # fmt: skip
_MAX_NODES = 5_000
_MAX_ITEMS = 1_000
_MAX_DEPTH = 60


def value_for(schema: object) -> Any:
    """A value that validates against `schema`. Raises: GatewayError when it is no schema or asks for too much."""
    try:
        return _Generator(root=schema if isinstance(schema, dict) else {}).value(schema, name="value")
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError):
        # It came from a caller, and nobody has looked at its inside: a minimum that is a text, a step of 0.
        raise failures.rejected() from None


@dataclass(slots=True)
class _Generator:
    root: dict[str, Any]
    nodes: int = 0
    depth: int = 0
    # References being followed: inside one of them, the same again is left out where it may be.
    path: list[str] = field(default_factory=list)

    def value(self, schema: object, *, name: str, number: int = 0) -> Any:
        """A value; `name` goes into texts, `number` makes the items of a list differ."""
        self.nodes += 1
        if self.nodes > _MAX_NODES or self.depth > _MAX_DEPTH:
            raise failures.rejected()
        if not isinstance(schema, dict):
            return name
        self.depth += 1
        try:
            return self._value(schema, name=name, number=number)
        finally:
            self.depth -= 1

    def _value(self, schema: dict[str, Any], *, name: str, number: int) -> Any:
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][number % len(schema["enum"])]
        if isinstance(reference := schema.get("$ref"), str):
            self.path.append(reference)
            try:
                return self.value(self._resolved(reference), name=name, number=number)
            finally:
                self.path.pop()
        if parts := schema.get("allOf"):
            merged = {key: value for key, value in schema.items() if key != "allOf"}
            for part in parts:
                merged = _merged(merged, self._dereferenced(part))
            return self.value(merged, name=name, number=number)
        if options := schema.get("anyOf") or schema.get("oneOf"):
            rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf", "discriminator")}
            option = self._option(options)
            return self.value(option if "$ref" in option else _merged(rest, option), name=name, number=number)
        return self._typed(schema, name=name, number=number)

    def _typed(self, schema: dict[str, Any], *, name: str, number: int) -> Any:
        kind = _kind(schema)
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema, name=name)
        if kind == "integer" or kind == "number":
            return _number(schema, number, is_whole=kind == "integer")
        if kind == "boolean":
            return number % 2 == 0
        if kind == "null":
            return None
        return _string(schema, name, number)

    def _object(self, schema: dict[str, Any]) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = schema.get("required") or []
        result = {
            key: self.value(part, name=key)
            for key, part in properties.items()
            if key in required or not self._comes_back(part)
        }
        more = schema.get("additionalProperties", True)
        for key in required:
            if key not in result:
                result[key] = self.value(more, name=key) if isinstance(more, dict) else key
        at_least = max(schema.get("minProperties") or 0, 1 if isinstance(more, dict) and not properties else 0)
        if isinstance(more, dict) and at_least and not (self._comes_back(more) and not schema.get("minProperties")):
            names = schema.get("propertyNames") or {}
            for number in range(min(at_least, _MAX_ITEMS)):
                key = str(self.value(names, name="key", number=number)) if names else f"key{number or ''}"
                result.setdefault(key, self.value(more, name=key, number=number))
        return result

    def _array(self, schema: dict[str, Any], *, name: str) -> list[Any]:
        leading = schema.get("prefixItems") or []
        items = schema.get("items", True)
        result = [self.value(part, name=name, number=number) for number, part in enumerate(leading)]
        at_least = schema.get("minItems") or 0
        # One where the list may be empty: it shows the shape.
        wanted = at_least if at_least or leading or self._comes_back(items) else 1
        if isinstance(at_most := schema.get("maxItems"), int):
            wanted = min(wanted, at_most)
        if wanted > _MAX_ITEMS:
            raise failures.rejected()
        while len(result) < wanted:
            result.append(self.value(items, name=name, number=len(result)))
        return result

    def _option(self, options: list[Any]) -> dict[str, Any]:
        """The first of several schemas; null only where the others lead back to what is being made."""
        known = [option for option in options if isinstance(option, dict)]
        for option in known:
            if option.get("type") != "null" and not self._comes_back(option):
                return option
        return next((option for option in known if option.get("type") == "null"), known[0] if known else {})

    def _comes_back(self, schema: object) -> bool:
        """Whether the schema is, directly or as the only choice or item, one that is being made already."""
        if not isinstance(schema, dict):
            return False
        if "$ref" in schema:
            return schema["$ref"] in self.path
        options = [o for key in ("anyOf", "oneOf", "allOf") for o in schema.get(key) or [] if isinstance(o, dict)]
        return any(self._comes_back(option) for option in options) and not any(
            option.get("type") == "null" for option in options
        )

    def _resolved(self, reference: str) -> object:
        target: Any = self.root
        for part in reference.removeprefix("#").strip("/").split("/"):
            if part:
                part = part.replace("~1", "/").replace("~0", "~")
                target = target.get(part) if isinstance(target, dict) else None
        return target

    def _dereferenced(self, schema: object) -> dict[str, Any]:
        for _ in range(_MAX_DEPTH):
            if not isinstance(schema, dict) or "$ref" not in schema:
                break
            schema = self._resolved(schema["$ref"])
        return schema if isinstance(schema, dict) else {}


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both schemas in one."""
    merged = {**one, **other}
    if "properties" in one and "properties" in other:
        merged["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        merged["required"] = [*one["required"], *other["required"]]
    return merged


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _number(schema: dict[str, Any], number: int, *, is_whole: bool) -> float:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    step = schema.get("multipleOf")
    if is_whole or step:
        step = step or 1
        least = -math.inf if low is None else math.ceil(low / step) * step
        if above is not None:
            least = max(least, (math.floor(above / step) + 1) * step)
        most = math.inf if high is None else math.floor(high / step) * step
        if below is not None:
            most = min(most, (math.ceil(below / step) - 1) * step)
        value = min(max(step * (number + 1), least + step * number), most)
        return int(value) if is_whole or value == int(value) else value
    least = max((bound for bound in (low, above) if bound is not None), default=-math.inf)
    most = min((bound for bound in (high, below) if bound is not None), default=math.inf)
    value = number + 1.5
    if not least < value < most:
        # In the middle where there is one, else a little inside the only bound.
        if math.isinf(least):
            value = most - 1.0 - number
        elif math.isinf(most):
            value = least + 1.0 + number
        else:
            value = least + (most - least) / (number + 2)
    return float(value)


def _string(schema: dict[str, Any], name: str, number: int) -> str:
    kind = schema.get("format")
    shortest, longest = schema.get("minLength") or 0, schema.get("maxLength")
    if shortest > 100_000:
        raise failures.rejected()
    if isinstance(kind, str) and kind in _FORMATS:
        return _FORMATS[kind].format(day=number % 28 + 1)
    if isinstance(pattern := schema.get("pattern"), str):
        return _matching(pattern, shortest, longest)
    text = f"demo {name}" + (f" {number + 1}" if number else "")
    text = text.ljust(shortest, "x")
    return text if longest is None else text[: max(longest, 0)]


def _matching(pattern: str, shortest: int, longest: int | None) -> str:
    for text in _SIMPLE_TEXTS:
        if shortest <= len(text) and (longest is None or len(text) <= longest):
            try:
                if re.search(pattern, text):
                    return text
            except re.error:
                break
    raise failures.rejected()
