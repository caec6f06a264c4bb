"""The route to a LiteLLM proxy over HTTP."""

from collections.abc import Iterator

import requests
from django.conf import settings

from apps.jobs.gateway import openai_http
from apps.jobs.gateway.interface import (
    Chunk,
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    Target,
)


class LiteLLMProxy:
    """A LiteLLM proxy at LITELLM_BASE_URL. It reports what a call cost: in a header, for streams in the usage."""

    def complete(self, request: CompletionRequest, *, timeout_s: float) -> Completion:
        """See `Gateway`."""
        return openai_http.complete(_proxy(), request, timeout_s=timeout_s, has_cost=True)

    def stream(self, request: CompletionRequest, *, timeout_s: float) -> Iterator[Chunk]:
        """See `Gateway`."""
        return openai_http.stream(_proxy(), request, timeout_s=timeout_s, has_cost=True)

    def embed(self, request: EmbeddingRequest, *, timeout_s: float) -> Embeddings:
        """See `Gateway`."""
        return openai_http.embed(_proxy(), request, timeout_s=timeout_s, has_cost=True)


def alive(*, timeout_s: float) -> str:
    """The version that the proxy names, or "alive". Raises: OSError when it does not answer well in time."""
    answer = requests.get(f"{settings.LITELLM_BASE_URL}/health/liveliness", timeout=timeout_s, allow_redirects=False)
    answer.raise_for_status()
    return str(answer.headers.get("x-litellm-version") or "alive")[:50]


def _proxy() -> Target:
    return Target(base_url=f"{settings.LITELLM_BASE_URL}/v1", api_key=settings.LITELLM_MASTER_KEY, is_ours=True)
