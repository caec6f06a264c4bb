"""Answers of LLM calls."""

from typing import Any, NotRequired

from typing_extensions import TypedDict

from apps.openapi.answers.shared import Escrow, JobFigures, TokenUsage
from apps.openapi.kinds import CallState, Credits, Id, Instant, JobStatus, OpenCallState, UnsuccessfulCallState


class CallMessage(TypedDict):
    """What a model said, as the provider sent it."""

    role: str
    content: NotRequired[str | None]
    tool_calls: NotRequired[list[dict[str, Any]] | None]
    refusal: NotRequired[str | None]
    audio: NotRequired[dict[str, Any] | None]


class CallChoice(TypedDict):
    """One of a model's answers."""

    index: int
    message: CallMessage
    finish_reason: str | None
    logprobs: NotRequired[dict[str, Any] | None]


class ShortAnswer(TypedDict):
    """The first answer alone."""

    content: str
    role: str
    finish_reason: str | None
    tool_calls: list[dict[str, Any]] | None


class CallMetadata(TypedDict):
    """What the call took, and the name it was made by."""

    tokens_used: int
    latency_ms: int | None
    model: str
    model_group: str


class CallNamed(TypedDict):
    """A call and its job."""

    call_id: Id
    job_id: Id
    status: CallState


class CallAnswer(CallNamed):
    """A call that succeeded: a short form (`response`, `metadata`) and an OpenAI completion, beside each other.

    `content_expired` when its contents are past their retention.
    """

    response: ShortAnswer
    metadata: CallMetadata
    id: str
    object: str
    created: int
    model: str
    choices: list[CallChoice]
    usage: TokenUsage
    escrow: Escrow | None
    content_expired: NotRequired[bool]


class CreateAndCallAnswer(TypedDict):
    """The same with the job that was opened for it, closed and charged. `status` is the job's."""

    call_id: Id
    job_id: Id
    status: JobStatus
    response: ShortAnswer
    metadata: CallMetadata
    id: str
    object: str
    created: int
    model: str
    choices: list[CallChoice]
    usage: TokenUsage
    escrow: Escrow | None
    content_expired: NotRequired[bool]
    costs: JobFigures
    completed_at: Instant | None
    credits_remaining: Credits


class Vector(TypedDict):
    """One embedding."""

    object: str
    index: int
    embedding: list[float]


class EmbeddingsCall(CallNamed):
    """A call for embeddings that succeeded, made under /v1."""

    object: str
    data: list[Vector]
    model: str
    usage: TokenUsage
    escrow: Escrow | None
    content_expired: NotRequired[bool]


class OpenCall(TypedDict):
    """A call that has no answer yet: ask again after Retry-After."""

    call_id: Id
    job_id: Id
    status: OpenCallState


class CallError(TypedDict):
    """Why a call has no answer: what the request was, or would have been, refused with."""

    status: int | None
    code: str
    detail: str


class FailedCall(TypedDict):
    """A call that has no answer and will have none."""

    call_id: Id
    job_id: Id
    status: UnsuccessfulCallState
    error: CallError
