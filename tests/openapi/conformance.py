"""Answers held against the OpenAPI document: what it does not say must not happen."""

import functools
import json
import re
from typing import Any

from jsonschema_rs import Draft202012Validator

from apps.openapi.document import document
from apps.openapi.operation import EVENTS
from apps.openapi.routes import routes

Schema = dict[str, Any]

# What any path may be answered with, and no operation lists: Django's own refusals.
_DJANGOS_OWN = [(400, "Bad Request"), (500, "Internal Server Error")]
_MOST_BYTES = 200_000
_HOW_TO_MEND = (
    "The OpenAPI document does not describe this answer. Describe it in apps/openapi: its operation in operations/, "
    "the type of its answer in answers/; then `make openapi`."
)


def problems(method: str, path: str, response: Any) -> str:
    """What the document does not say about an answer, empty when all is as described."""
    key = described_by(method, path)
    if key is None or response.headers.get("Location", "").startswith("https://"):
        # Not routed, or sent to HTTPS before it was.
        return ""
    verb, template = key.split(" ", 1)
    status = str(response.status_code)
    found = _problems(document()["paths"][template][verb.lower()], key, status, response)
    return f"{method} {path} -> {status}: {found}\n{_HOW_TO_MEND}" if found else ""


def described_by(method: str, path: str) -> str | None:
    """The operation that a request is for, None when there is none."""
    template = next((template for form, template in _forms() if form.fullmatch(path)), None)
    return f"{method} {template}" if template and method.lower() in document()["paths"][template] else None


def _problems(operation: Schema, key: str, status: str, response: Any) -> str:
    media_type = response.headers.get("Content-Type", "").split(";")[0]
    if media_type == EVENTS or response.streaming:
        has_it = media_type in operation["responses"].get(status, {}).get("content", {})
        return "" if has_it else f"{media_type} is not described"
    if len(response.content) > _MOST_BYTES:
        return ""
    body = json.loads(response.content) if media_type == "application/json" else None
    if isinstance(body, dict) and (response.status_code, body.get("detail")) in _DJANGOS_OWN:
        return ""
    if status not in operation["responses"]:
        return f"the status is not described; the body is {str(body)[:300]}"
    validator = _validator(key, status, media_type)
    if validator is None:
        return f"{media_type} is not described"
    return "; ".join(
        f"{'/'.join(map(str, error.instance_path))}: {error.message[:300]}" for error in validator.iter_errors(body)
    )


@functools.cache
def _forms() -> list[tuple[re.Pattern[str], str]]:
    """Every path as a pattern, in the order in which they are tried."""
    return [(_form(path), path) for path in dict.fromkeys(route.path for route in routes())]


def _form(template: str) -> re.Pattern[str]:
    # A model's name may have slashes in it.
    parts = {"model": ".+?"}
    return re.compile(re.sub(r"\\\{(\w+)\\\}", lambda name: parts.get(name[1], "[^/]+"), re.escape(template)) + "/?")


@functools.cache
def _validator(key: str, status: str, media_type: str) -> Draft202012Validator | None:
    verb, path = key.split(" ", 1)
    response = _resolved(document()["paths"][path][verb.lower()]["responses"][status])
    content = response.get("content", {}).get(media_type)
    return None if content is None else validator(content["schema"], is_closed=status == "200")


def validator(schema: Schema, *, is_closed: bool = False) -> Draft202012Validator:
    """A validator of a schema of the document. `is_closed`: fields that it does not name are errors too."""
    root = {"$ref": "#/root", "root": schema, "components": document()["components"]}
    return Draft202012Validator(_closed(root) if is_closed else root, validate_formats=True)


def _closed(value: Any) -> Any:
    if isinstance(value, list):
        return [_closed(each) for each in value]
    if not isinstance(value, dict):
        return value
    closed = {name: _closed(each) for name, each in value.items()}
    if closed.get("type") == "object" and isinstance(closed.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


def _resolved(response: Schema) -> Schema:
    name = response.get("$ref", "").rsplit("/", 1)[-1]
    found: Schema = document()["components"]["responses"][name] if name else response
    return found
