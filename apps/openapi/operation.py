"""How an operation is described. What can be read off its route and its view is not said again (see `document`)."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

JSON, CSV, EVENTS = "application/json", "text/csv", "text/event-stream"

# Ways to say who calls, as named under components/securitySchemes.
KEY, OPERATOR, MASTER_KEY, ADMIN_KEY = "virtualKey", "operatorToken", "masterKey", "adminKey"
OPERATORS = (OPERATOR, MASTER_KEY, ADMIN_KEY)


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter. `schema` is JSON Schema."""

    name: str
    description: str
    schema: dict[str, Any]
    example: Any
    required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """A method on a path.

    `answer` is the type of the JSON of its 200, None without any; `also` are other media types of the same 200.
    `body` is the model that the view parses; `bare` a list that may be sent in the place of the object.
    `errors` are statuses beyond those that follow from the path, the body and the credential.
    `security` is for where the view's class does not tell.
    """

    summary: str
    answer: Any = None
    description: str = ""
    body: type[BaseModel] | None = None
    bare: Any = None
    query: tuple[Query, ...] = ()
    errors: tuple[int, ...] = ()
    idempotent: bool = False
    also: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    security: tuple[str, ...] | None = None
    # Headers that it reads, as OpenAPI's parameters.
    reads: tuple[dict[str, Any], ...] = ()
    # The type of its 503, if that is no refusal.
    unready: Any = None
