"""Parameters of an operation: in its path, in its query, and the headers that it reads."""

from typing import Any

from apps.catalog.models import ProviderCredential
from apps.openapi.operation import Operation, Query
from apps.openapi.routes import Route

Schema = dict[str, Any]

_NAME = {"type": "string", "minLength": 1}
_ID = {"type": "string", "format": "uuid"}
_NUMBER = {"type": "integer", "minimum": 1}
_SOME_ID = "0198c5a2-7b1e-7c3d-9a44-5f0e6d2c1b3a"

# What stands in paths: its description, schema and one of it.
IN_PATH: dict[str, tuple[str, Schema, Any]] = {
    "alias": ("A model alias.", _NAME, "chat-fast"),
    "audit_id": ("An audit entry.", _ID, _SOME_ID),
    "call_id": ("A call.", _ID, _SOME_ID),
    "card_id": ("A rate card.", _NUMBER, 1),
    "checkout_id": ("A checkout.", _ID, _SOME_ID),
    "credential_id": ("A provider's credential.", _ID, _SOME_ID),
    "decision_id": ("A refused call.", _ID, _SOME_ID),
    "grant_id": ("A scheduled grant.", _ID, _SOME_ID),
    "group": ("A group's name.", _NAME, "everyday"),
    "job_id": ("A job.", _ID, _SOME_ID),
    "key_id": ("A virtual key.", _ID, _SOME_ID),
    "limit_id": ("A limit.", _NUMBER, 1),
    "model": ("A name that the key may use.", _NAME, "chat-fast"),
    "number": ("The number of a version.", _NUMBER, 1),
    "organization_id": ("An organization.", _NAME, "acme-inc"),
    "pack_id": ("A pack of credits.", _ID, _SOME_ID),
    "period": ("A month, in UTC.", {"type": "string", "pattern": r"^[12]\d{3}-(0[1-9]|1[0-2])$"}, "2026-03"),
    "provider": ("A provider.", {"type": "string", "enum": ProviderCredential.Provider.values}, "openai"),
    "team_id": ("A team.", _NAME, "acme"),
    "token_id": ("An operator's token.", _ID, _SOME_ID),
    "transaction_id": ("A ledger entry.", _ID, _SOME_ID),
    "user_id": ("A user.", _ID, _SOME_ID),
    "voucher_id": ("A voucher.", _ID, _SOME_ID),
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "With it the request has its effect once; a repeat gets the first answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    "example": "order-4711",
}
PREFER = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=N`: how many seconds to wait for the answer before it must be asked for.",
    "schema": {"type": "string"},
    "example": "wait=30",
}
JOB_HEADERS = tuple(
    {
        "name": name,
        "in": "header",
        "description": description,
        "schema": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[ -~]+$"},
        "example": example,
    }
    for name, description, example in (
        ("X-Job-Id", "An open job that the call goes into; without it the call is a job of its own.", _SOME_ID),
        ("X-Job-Type", "The type of the job that is made for the call.", "support-reply"),
    )
)
SIGNATURE = {
    "name": "Stripe-Signature",
    "in": "header",
    "required": True,
    "description": "Stripe's signature of the body.",
    "schema": {"type": "string", "minLength": 1},
    "example": "t=1772323200,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd",
}


def parameters(route: Route, operation: Operation) -> list[Schema]:
    """All parameters of an operation, each with an example. Raises: KeyError for a path's part that is not known."""
    found = [_in_path(name) for name in route.parameters]
    found += [_in_query(each) for each in operation.query]
    if operation.idempotent:
        found.append(IDEMPOTENCY_KEY)
    return found + list(operation.reads)


def _in_path(name: str) -> Schema:
    description, schema, example = IN_PATH[name]
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
        "example": example,
    }


def _in_query(query: Query) -> Schema:
    return {
        "name": query.name,
        "in": "query",
        "required": query.required,
        "description": query.description,
        "schema": query.schema,
        "example": query.example,
    }
