"""What goes with answers: the refusals by status, on both edges, and headers."""

from typing import Any

from apps.openapi.answers.errors import Error, InvalidRequest, OpenAIError

Schema = dict[str, Any]

# Of /api: a status, what it means, the type of its body, and one of them.
REFUSALS: dict[int, tuple[str, Any, Schema]] = {
    400: ("A business rule refuses the request.", Error, {"detail": "Already active", "code": "invalid_request"}),
    401: (
        "No credential, or an unknown one.",
        Error,
        {"detail": "Invalid or expired API key", "code": "not_authenticated"},
    ),
    403: (
        "The caller may not do this: a key's team or scopes (`team_not_active`, `scope_missing` …), or an operator's "
        "rights (`right_missing`, with `right` and `role`).",
        Error,
        {
            "detail": "Your role (viewer) cannot change limits. Owner and admin can.",
            "code": "right_missing",
            "right": "limits.write",
            "role": "viewer",
        },
    ),
    404: (
        "There is no such thing for the caller.",
        Error,
        {"detail": "Team 'acme' not found", "code": "team_not_found"},
    ),
    409: ("The thing's state does not admit this.", Error, {"detail": "Not a draft", "code": "conflict"}),
    413: ("The body is too large.", Error, {"detail": "The request body is too large.", "code": "too_large"}),
    422: (
        "Fields of the request are missing or wrong.",
        InvalidRequest,
        {
            "detail": [{"type": "missing", "loc": ["body", "team_id"], "msg": "Field required", "input": {}}],
            "code": "invalid_request_body",
        },
    ),
    429: (
        "Too much in too short a time. `Retry-After` says when to come back, if ever.",
        Error,
        {"detail": "Rate limit exceeded: 60 requests a minute for team 'acme'.", "code": "rate_limited"},
    ),
    500: (
        "The provider or the server failed.",
        Error,
        {"detail": "LLM call failed: the provider refused it", "code": "provider_error"},
    ),
    503: ("It may work later.", Error, {"detail": "The service is temporarily unavailable. Try again shortly."}),
}
# Of /v1, where clients repeat by the status.
OPENAI_REFUSALS: dict[int, tuple[str, str, str]] = {
    400: ("A parameter is missing, wrong or not offered here.", "invalid_request_error", "invalid_value"),
    401: ("No credential, or an unknown one.", "invalid_request_error", "invalid_api_key"),
    402: ("Credits or spend are used up.", "insufficient_quota", "insufficient_quota"),
    403: ("The key may not do this.", "permission_error", "scope_missing"),
    404: ("The key may use no such model, or there is no such job.", "invalid_request_error", "model_not_found"),
    409: ("The job's or the answer's state does not admit this.", "invalid_request_error", "content_expired"),
    413: ("The body is too large.", "invalid_request_error", "too_large"),
    429: ("Too much in too short a time.", "rate_limit_error", "rate_limit_exceeded"),
    500: ("The provider or the server failed.", "server_error", "provider_error"),
    503: ("It may work later.", "server_error", "unavailable"),
}

REQUEST_ID = "X-Request-Id"
_TEXT = {"type": "string"}
_WHOLE = {"type": "integer", "minimum": 0}
HEADERS: dict[str, Schema] = {
    REQUEST_ID: {"description": "Names this request in the logs.", "required": True, "schema": _TEXT},
    "Idempotency-Replayed": {
        "description": "The answer repeats an earlier one.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Retry-After": {"description": "Seconds to wait before the next try.", "schema": _WHOLE},
    "X-Total-Count": {"description": "How many there are on all pages.", "required": True, "schema": _WHOLE},
    "Link": {"description": "Relative links to the next and the previous page (RFC 8288).", "schema": _TEXT},
    "WWW-Authenticate": {"description": "How to authenticate.", "required": True, "schema": _TEXT},
    "X-Job-Id": {"description": "The job.", "schema": _TEXT},
    "X-Call-Id": {"description": "The call.", "schema": _TEXT},
    "X-SaasLLM-Job-Id": {"description": "The job.", "schema": _TEXT},
    "X-SaasLLM-Call-Id": {"description": "The call.", "schema": _TEXT},
    "X-SaasLLM-Credits-Charged": {"description": "What the job was charged, in exact credits.", "schema": _TEXT},
    "X-SaasLLM-Credits-Remaining": {"description": "What the team has left, in exact credits.", "schema": _TEXT},
    "X-SaasLLM-Escrow-Remaining": {"description": "What the job's ceiling leaves, in credits.", "schema": _TEXT},
}
# Of lists that are arrays.
ARRAY_HEADERS = ("X-Total-Count", "Link")
CALL_HEADERS = ("X-Job-Id", "X-Call-Id")
OPENAI_CALL_HEADERS = tuple(name for name in HEADERS if name.startswith("X-SaasLLM")) + CALL_HEADERS


def header_refs(*names: str) -> Schema:
    """These headers of an answer, and the one that every answer has."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (REQUEST_ID, *names)}


def refusal_name(status: int, *, is_openai: bool) -> str:
    """What a refusal is called among the components."""
    return f"{'OpenAI' if is_openai else ''}Refused{status}"


def components() -> dict[str, Schema]:
    """All refusals. Their schemas are among the components under their types' names."""
    found = {}
    for status, (description, kind, example) in REFUSALS.items():
        found[refusal_name(status, is_openai=False)] = _refusal(status, description, kind, example)
    for status, (description, kind, code) in OPENAI_REFUSALS.items():
        example = {"error": {"message": description, "type": kind, "param": None, "code": code}}
        found[refusal_name(status, is_openai=True)] = _refusal(status, description, OpenAIError, example)
    return found


def _refusal(status: int, description: str, kind: Any, example: Schema) -> Schema:
    headers = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}.get(status, ())
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {
        "description": description,
        "headers": header_refs(*headers),
        "content": {"application/json": {"schema": schema, "example": example}},
    }
