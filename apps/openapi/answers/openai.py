"""Answers under /v1, in OpenAI's shapes."""

from typing import Any, NotRequired

from typing_extensions import TypedDict

from apps.openapi.answers.shared import TokenUsage


class OpenAIModel(TypedDict):
    """A name that the key may use."""

    id: str
    object: str
    created: int
    owned_by: str


class OpenAIModels(TypedDict):
    """The names that the key may use."""

    object: str
    data: list[OpenAIModel]


class ChatMessage(TypedDict):
    """What a model said. Content is null beside tool calls."""

    role: str
    content: NotRequired[str | None]
    refusal: str | None
    tool_calls: NotRequired[list[dict[str, Any]] | None]
    audio: NotRequired[dict[str, Any] | None]


class ChatChoice(TypedDict):
    """One of a model's answers."""

    index: int
    message: ChatMessage
    logprobs: dict[str, Any] | None
    finish_reason: str | None


class ChatCompletion(TypedDict):
    """A chat completion."""

    id: str
    object: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: TokenUsage


class TextChoice(TypedDict):
    """One of a model's answers."""

    text: str
    index: int
    logprobs: dict[str, Any] | None
    finish_reason: str | None


class TextCompletion(TypedDict):
    """A completion of the legacy endpoint."""

    id: str
    object: str
    created: int
    model: str
    choices: list[TextChoice]
    usage: TokenUsage


class Embedding(TypedDict):
    """A vector: numbers, or with `encoding_format: base64` their bytes (float32, little-endian)."""

    object: str
    index: int
    embedding: list[float] | str


class EmbeddingUsage(TypedDict):
    """Tokens of an embeddings request."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(TypedDict):
    """Vectors in the order of the inputs."""

    object: str
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
