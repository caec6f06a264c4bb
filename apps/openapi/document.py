"""The OpenAPI document, put together from the routes, their views' classes and `operations`.

It is made on first use, and once in a process: no call waits for it, and no worker imports it.
"""

import functools
import json
import re
from pathlib import Path
from typing import Any

from django.conf import settings
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from apps.api.authentication import EitherView, OperatorView
from apps.api.authentication import KeyView as ApiKeyView
from apps.openai_compat.views import KeyView as OpenAIKeyView
from apps.openapi import paths, responses
from apps.openapi.answers.errors import Error, InvalidRequest, OpenAIError
from apps.openapi.operation import ADMIN_KEY, CSV, EVENTS, JSON, KEY, MASTER_KEY, OPERATOR, OPERATORS, Operation
from apps.openapi.operations import resources
from apps.openapi.rights import needed, sentence
from apps.openapi.routes import Route, routes
from apps.organizations import tokens

Schema = dict[str, Any]

REF = "#/components/schemas/{model}"
COMMITTED = settings.BASE_DIR / "docs" / "openapi.json"
ERRORS = (Error, InvalidRequest, OpenAIError)
_EXAMPLES = Path(__file__).parent / "examples"
_DESCRIPTION = """Sell business operations built on LLMs: jobs that are billed as one unit.

Customers call with their team's virtual key, operators with an operator token or the master key. What right an
operator needs is in `x-right`; who lacks it gets 403 `right_missing`. Every error of `/api` is an object with
`detail` and mostly a `code`; under `/v1` errors are OpenAI's. A method that a path does not have is answered with
405. A POST with an `Idempotency-Key` may be repeated: it has its effect once.
"""
# Other media than JSON: what their examples are called, and a schema. Of a stream it is each event's.
_EVENT = {
    "type": "object",
    "description": "Each event: a chunk in OpenAI's form as JSON, an error, or `[DONE]`, which comes last.",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
_OTHER_MEDIA: dict[str, tuple[str, Schema]] = {CSV: ("csv", {"type": "string"}), EVENTS: ("event", _EVENT)}
_TOKEN = tokens.FORM.prefix
_SECURITY = {
    KEY: {"type": "http", "scheme": "bearer", "description": "A team's virtual key (`sk-…`)."},
    OPERATOR: {"type": "http", "scheme": "bearer", "description": f"An operator's token (`{_TOKEN}…`)."},
    MASTER_KEY: {"type": "http", "scheme": "bearer", "description": "The master key."},
    ADMIN_KEY: {
        "type": "apiKey",
        "in": "header",
        "name": "X-Admin-Key",
        "description": f"An operator's token (`{_TOKEN}…`), or the master key.",
    },
}


@functools.cache
def document() -> Schema:
    """The whole document. Raises: LookupError when a route is not described."""
    described = operations()
    schemas = _Schemas(described)
    built: Schema = {}
    for route in routes():
        if route.key not in described:
            raise LookupError(f"{route.key} is routed but not described: add it to apps/openapi/operations")
        tag, operation = described[route.key]
        built.setdefault(route.path, {})[route.method] = _operation(route, tag, operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "SaaS LLM API", "version": settings.VERSION, "description": _DESCRIPTION},
        "tags": [{"name": module.TAG, "description": _one_line(module.__doc__)} for module in resources()],
        "paths": built,
        "components": {
            "schemas": schemas.components,
            "responses": responses.components(),
            "headers": responses.HEADERS,
            "securitySchemes": _SECURITY,
        },
    }


@functools.cache
def document_json() -> bytes:
    """The document as it is served and committed: sorted, so that a change of it is a change of the surface."""
    return (json.dumps(document(), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def operations() -> dict[str, tuple[str, Operation]]:
    """All operations with their tags, by method and path."""
    found: dict[str, tuple[str, Operation]] = {}
    for module in resources():
        found |= {key: (module.TAG, operation) for key, operation in module.OPERATIONS.items()}
    return found


@functools.cache
def examples() -> dict[str, Schema]:
    """A request's body and an answer of every operation that has them, by method and path."""
    found: dict[str, Schema] = {}
    for path in sorted(_EXAMPLES.glob("*.json")):
        found |= json.loads(path.read_text())
    return found


class _Plain(GenerateJsonSchema):
    """Without a title for every field: it would only repeat the name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class _Schemas:
    """JSON Schemas of all bodies and answers, made together so that names are the same everywhere."""

    def __init__(self, described: dict[str, tuple[str, Operation]]) -> None:
        wanted: list[tuple[Any, Any, TypeAdapter[Any]]] = []
        for key, (_, operation) in described.items():
            for part, mode in (("body", "validation"), ("bare", "validation"), ("answer", "serialization")):
                kind = getattr(operation, part)
                if kind is not None:
                    wanted.append(((key, part), mode, TypeAdapter(kind)))
        wanted += [((kind.__name__, "error"), "serialization", TypeAdapter(kind)) for kind in ERRORS]
        self._made, definitions = TypeAdapter.json_schemas(wanted, ref_template=REF, schema_generator=_Plain)
        self.components: Schema = definitions.get("$defs", {})

    def body(self, key: str) -> Schema:
        return self._made[(key, "body"), "validation"]

    def bare(self, key: str) -> Schema:
        return self._made[(key, "bare"), "validation"]

    def answer(self, key: str) -> Schema:
        return self._made[(key, "answer"), "serialization"]

    def has_required(self, schema: Schema) -> bool:
        return bool(self.components[schema["$ref"].rsplit("/", 1)[1]].get("required"))


def _operation(route: Route, tag: str, operation: Operation, schemas: _Schemas) -> Schema:
    security = operation.security if operation.security is not None else _security(route)
    right = needed(route)
    said = operation.description or _said_by(route.view) or operation.summary
    built: Schema = {
        "operationId": re.sub(r"\W+", "_", f"{route.method}{route.path}").strip("_"),
        "tags": [tag],
        "summary": operation.summary,
        "description": f"{said.removesuffix('.')}.{sentence(right)}",
        "security": [{name: []} for name in security],
        "parameters": paths.parameters(route, operation),
        "responses": _responses(route, operation, schemas, is_secured=bool(security)),
    }
    if right is not None:
        built["x-right"] = right.as_wire()
    if operation.body is not None:
        built["requestBody"] = _body(route, operation, schemas)
    return built


def _body(route: Route, operation: Operation, schemas: _Schemas) -> Schema:
    schema = schemas.body(route.key)
    content: Schema = {"schema": schema, "example": examples().get(route.key, {}).get("request")}
    if operation.bare is not None:
        content["schema"] = {"anyOf": [schema, schemas.bare(route.key)]}
    return {"required": schemas.has_required(schema), "content": {JSON: content}}


def _responses(route: Route, operation: Operation, schemas: _Schemas, *, is_secured: bool) -> Schema:
    content: Schema = {}
    example = examples().get(route.key, {})
    if operation.answer is not None:
        content[JSON] = {"schema": schemas.answer(route.key), "example": example.get("answer")}
    for media_type in operation.also:
        name, schema = _OTHER_MEDIA[media_type]
        content[media_type] = {"schema": schema, "example": example.get(name)}
    is_openai = route.path.startswith("/v1/")
    headers = (*(("Idempotency-Replayed",) if operation.idempotent else ()), *operation.headers)
    built: Schema = {"200": {"description": "Done.", "headers": responses.header_refs(*headers), "content": content}}
    for status in _statuses(route, operation, is_secured=is_secured, is_openai=is_openai):
        name = responses.refusal_name(status, is_openai=is_openai)
        built[str(status)] = {"$ref": f"#/components/responses/{name}"}
    if operation.unready is not None:
        schema = {"$ref": REF.format(model=operation.unready.__name__)}
        built["503"] = {
            "description": "It cannot.",
            "headers": responses.header_refs(),
            "content": {JSON: {"schema": schema, "example": example.get("unready")}},
        }
    return built


def _statuses(route: Route, operation: Operation, *, is_secured: bool, is_openai: bool) -> list[int]:
    """The statuses of its refusals: what follows from its parts, and what it names itself."""
    found = set(operation.errors)
    if is_secured:
        # Every one looks for the caller in the database first.
        found |= {401, 403, 503}
    if route.parameters:
        found.add(404)
    if operation.body is not None:
        found |= {400, 413}
    if operation.body is not None or operation.query or operation.idempotent:
        found.add(422)
    if is_openai:
        # Where a wrong field is a 400.
        found.discard(422)
    return sorted(found)


def _security(route: Route) -> tuple[str, ...]:
    """Who may call, by the class of the view."""
    view = route.view
    if view is None:
        return ()
    if issubclass(view, ApiKeyView | OpenAIKeyView):
        return (KEY,)
    if issubclass(view, OperatorView):
        return OPERATORS
    return (KEY, *OPERATORS) if issubclass(view, EitherView) else ()


def _said_by(view: type[Any] | None) -> str:
    """What a view's docstring says beside its methods and path."""
    text = _one_line(view.__doc__ if view else "")
    said = text.partition(": ")[2] if re.match(r"(GET|POST|PUT|PATCH|DELETE)\b", text) else text
    return said[:1].upper() + said[1:]


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())
