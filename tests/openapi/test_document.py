"""The OpenAPI document is whole: every route, with all that a reader needs of it, and the committed copy is it."""

import json
import tomllib
from typing import Any

import jsonschema_rs
import pytest
from django.conf import settings

from apps.openapi.document import COMMITTED, document, document_json, operations
from apps.openapi.operation import JSON
from apps.openapi.routes import routes
from tests.openapi import conformance

KEYS = sorted(operations())


def operation(key: str) -> dict[str, Any]:
    method, path = key.split(" ", 1)
    found: dict[str, Any] = document()["paths"][path][method.lower()]
    return found


def test_what_is_routed_is_what_is_described() -> None:
    routed = {route.key for route in routes()}
    assert len(routed) > 150
    assert routed - set(operations()) == set(), "describe these in apps/openapi/operations"
    assert set(operations()) - routed == set(), "these are routed no more: delete them from apps/openapi/operations"


def test_the_committed_copy_is_what_is_served() -> None:
    assert COMMITTED.read_bytes() == document_json(), "docs/openapi.json is not what is served: run `make openapi`"


def test_it_is_valid_openapi() -> None:
    assert document()["openapi"] == "3.1.0"
    for name, schema in document()["components"]["schemas"].items():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}), name
    ids = [operation(key)["operationId"] for key in KEYS]
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere() -> None:
    whole = document()
    found = set(_references(whole))
    assert len(found) > 200
    for reference in found:
        place: Any = whole
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [each for item in value for each in _references(item)]
    if isinstance(value, dict):
        below = [each for item in value.values() for each in _references(item)]
        return below + ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
    return []


def test_schemas_have_plain_names() -> None:
    """Two types of one name would be told apart by their modules' names."""
    assert [name for name in document()["components"]["schemas"] if "_" in name] == []


@pytest.mark.parametrize("key", KEYS)
def test_an_operation_says_all_that_is_needed(key: str) -> None:
    found = operation(key)
    assert found["tags"][0] in {tag["name"] for tag in document()["tags"]}
    assert found["summary"]
    assert not found["summary"].endswith(".")
    assert found["description"]
    assert found["responses"]["200"]["content"]
    known = document()["components"]["securitySchemes"]
    assert all(name in known for each in found["security"] for name in each)
    is_open = key.split(" ")[1] in ("/health", "/livez", "/readyz", "/api/payments/webhooks/stripe")
    assert (found["security"] == []) == is_open
    if not is_open:
        assert {"401", "403", "503"} <= found["responses"].keys()
    in_path = {each["name"] for each in found["parameters"] if each["in"] == "path"}
    assert all(f"{{{name}}}" in key for name in in_path)


def test_the_right_that_an_operator_needs_is_said() -> None:
    whole = operation("PUT /api/limits")
    assert whole["x-right"] == {"right": "limits.write", "roles": ["owner", "admin"], "limited_roles": {}}
    assert whole["description"].endswith("An operator needs the right `limits.write` (change limits): owner, admin.")
    in_part = operation("POST /api/limits/{limit_id}/raise")
    assert in_part["x-right"]["limited_roles"] == {"support": "temporary raises of up to 7 days"}
    assert "support (temporary raises of up to 7 days)" in in_part["description"]
    assert "x-right" not in operation("GET /api/me")
    assert "x-right" not in operation("POST /api/jobs/create")


def test_operators_may_call_with_a_token_or_the_master_key() -> None:
    ways = [next(iter(each)) for each in operation("GET /api/operators")["security"]]
    assert ways == ["operatorToken", "masterKey", "adminKey"]
    assert [next(iter(each)) for each in operation("GET /api/jobs")["security"]] == ["virtualKey", *ways]
    assert "`op-…`" in document()["components"]["securitySchemes"]["operatorToken"]["description"]


@pytest.mark.parametrize("key", KEYS)
def test_examples_are_as_their_schemas_say(key: str) -> None:
    found = operation(key)
    how = f"add it to apps/openapi/examples under {key!r}"
    for parameter in found["parameters"]:
        conformance.validator(parameter["schema"]).validate(parameter["example"])
    if "requestBody" in found:
        given = found["requestBody"]["content"][JSON]
        assert given["example"] is not None, f"a request's example is missing: {how}"
        conformance.validator(given["schema"]).validate(given["example"])
    for media_type, content in found["responses"]["200"]["content"].items():
        assert content["example"] is not None, f"an example in {media_type} is missing: {how}"
        conformance.validator(content["schema"], is_closed=True).validate(content["example"])


def test_no_example_is_of_nothing() -> None:
    from apps.openapi.document import examples

    assert set(examples()) - set(operations()) == set()


def test_no_example_shows_a_place_or_a_secret_of_ours() -> None:
    text = json.dumps(document())
    assert "/tmp/" not in text
    assert str(settings.BASE_DIR) not in text


def test_the_version_is_the_project_s() -> None:
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["project"]
    assert document()["info"] == {**document()["info"], "title": "SaaS LLM API", "version": project["version"]}
