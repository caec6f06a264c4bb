"""What a route to a model gets and gives: a request, a completion, or a failure with a public face.

A `GatewayError` carries no secret, no host and no provider text: what a client may read is chosen here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

FINISH_REASONS = frozenset({"stop", "length", "content_filter", "tool_calls"})


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A chat completion to ask for. `body` is OpenAI's, without the model; ids let a second witness match logs."""

    call_id: str
    attempt_id: str
    team_id: str
    provider_model: str
    body: dict[str, Any]
    target: "Target | None" = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request is sent, and with which secret. Never in a log.

    `is_ours`: its host is of our own configuration, and may be anywhere. Of others the address is judged.
    """

    base_url: str
    api_key: str = field(repr=False)
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts (or lists of tokens) to embed. `options` are OpenAI's, without model, input and encoding."""

    call_id: str
    attempt_id: str
    team_id: str
    provider_model: str
    input: list[Any]
    options: dict[str, Any] = field(default_factory=dict)
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider reported them, checked to be plausible whole numbers.

    `classes` are the disjoint parts of both (`catalog.rates`), None when there is nothing but plain input and output.
    `has_mismatch`: what was reported contradicts its own total.
    """

    prompt_tokens: int
    completion_tokens: int
    classes: dict[str, int] | None = None
    has_mismatch: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer. `choices` are OpenAI's, with finish reasons in its spelling; `usage` is None when not usable."""

    provider_id: str
    created: int
    resolved_model: str
    choices: list[dict[str, Any]]
    usage: Usage | None
    raw_usage: str = ""
    cost_nanousd: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a streamed answer. `choices` are those of OpenAI's chunk, with finish reasons in its spelling and
    without `content: null`; usage and cost come with the last one, if at all."""

    choices: list[dict[str, Any]]
    provider_id: str = ""
    created: int = 0
    resolved_model: str = ""
    usage: Usage | None = None
    raw_usage: str = ""
    cost_nanousd: int | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A vector for each input, in its order."""

    vectors: list[list[float]]
    resolved_model: str
    usage: Usage | None
    raw_usage: str = ""
    cost_nanousd: int | None = None


class GatewayError(Exception):
    """A try that brought no answer. `status` is what the client gets: 400, 429, 500 or 503."""

    def __init__(
        self,
        code: str,
        reason: str,
        *,
        status: int,
        is_retryable: bool = False,
        retry_after_s: int | None = None,
        was_executed: bool = False,
    ) -> None:
        self.code = code
        self.reason = reason
        self.status = status
        self.is_retryable = is_retryable
        self.retry_after_s = retry_after_s
        # Whether the provider may have worked (and billed) before it failed.
        self.was_executed = was_executed
        super().__init__(f"{code}: {reason}")


class Gateway(Protocol):
    """One route. `timeout_s` bounds a whole exchange, from its first byte to its last."""

    def complete(self, request: CompletionRequest, *, timeout_s: float) -> Completion:
        """Ask and wait. Raises: GatewayError, and nothing else."""
        ...

    def stream(self, request: CompletionRequest, *, timeout_s: float) -> Iterator[Chunk]:
        """Ask, and give each piece of the answer as it comes. Closing the iterator ends the exchange at once.

        Every choice has begun with a role and a text, and ends with a finish reason; an answer that breaks off
        before that raises. Raises: GatewayError, and nothing else, here, before the first chunk or between chunks.
        """
        ...

    def embed(self, request: EmbeddingRequest, *, timeout_s: float) -> Embeddings:
        """Ask for vectors and wait. Raises: GatewayError, and nothing else."""
        ...
