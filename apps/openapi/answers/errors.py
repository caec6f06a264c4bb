"""Errors, as docs/errors.md lists them."""

from typing import Any, NotRequired

from typing_extensions import TypedDict

from apps.openapi.kinds import Anything


class Problem(TypedDict):
    """What is wrong with one field of the request."""

    type: str
    loc: list[str | int]
    msg: str
    input: Anything


class Error(TypedDict):
    """A refusal: `detail` for people, `code` (docs/errors.md) for programs, with fields of the error's own beside."""

    detail: str
    code: NotRequired[str]


class InvalidRequest(TypedDict):
    """Fields are missing or wrong; or a text: the Idempotency-Key was used for another request."""

    detail: list[Problem] | str
    code: NotRequired[str]


class OpenAIErrorBody(TypedDict):
    """What OpenAI's clients read of an error. A refusal by a limit says more beside it."""

    message: str
    type: str
    param: str | None
    code: str | None
    decision_id: NotRequired[str]
    limit: NotRequired[Any]


class OpenAIError(TypedDict):
    """A refusal in OpenAI's form."""

    error: OpenAIErrorBody
