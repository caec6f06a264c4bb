"""The route to whatever speaks OpenAI's API at an address of its own, named by the request's target."""

from collections.abc import Iterator

from apps.jobs.gateway import failures, openai_http
from apps.jobs.gateway.interface import (
    Chunk,
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    Target,
)


class OpenAICompatible:
    """`target.base_url` is what OpenAI's SDKs take: with `/v1`, if the server has one."""

    def complete(self, request: CompletionRequest, *, timeout_s: float) -> Completion:
        """See `Gateway`."""
        return openai_http.complete(_target(request), request, timeout_s=timeout_s)

    def stream(self, request: CompletionRequest, *, timeout_s: float) -> Iterator[Chunk]:
        """See `Gateway`."""
        return openai_http.stream(_target(request), request, timeout_s=timeout_s)

    def embed(self, request: EmbeddingRequest, *, timeout_s: float) -> Embeddings:
        """See `Gateway`."""
        return openai_http.embed(_target(request), request, timeout_s=timeout_s)


def _target(request: CompletionRequest | EmbeddingRequest) -> Target:
    if request.target is None:
        raise failures.misconfigured()
    return request.target
