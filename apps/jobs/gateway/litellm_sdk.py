"""The route through LiteLLM's SDK in the worker's own process: an optional extra, imported at its first call.

It costs 180 MB and four seconds once a process; a proxy costs neither. Its timeout bounds each read, not the whole
exchange: a provider that drips an answer can exceed it here, a stream by no more than one chunk.
"""

import importlib
import importlib.metadata
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

from apps.jobs.gateway import failures
from apps.jobs.gateway.deadline import Deadline
from apps.jobs.gateway.interface import (
    Chunk,
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    GatewayError,
)
from apps.jobs.gateway.openai_wire import ChunkReader, load, parse_completion, parse_embeddings

log = logging.getLogger(__name__)

# Releases with a credential stealer in them. The extra is pinned; this is for those who installed it otherwise.
MALICIOUS = frozenset({"1.82.7", "1.82.8", "1.107.0"})
# What is passed on of a request. The SDK takes where to send it, and with which secret, in the same place.
_PARAMETERS = frozenset(
    [
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
        "max_tokens", "messages", "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty",
        "reasoning_effort", "response_format", "seed", "stop", "temperature", "tool_choice", "tools", "top_logprobs",
        "top_p", "verbosity", "web_search_options",
    ]
)  # fmt: skip

_importing = threading.Lock()


class LiteLLMSDK:
    """Provider models are named as LiteLLM names them (`openai/gpt-5`); keys come from its own environment variables
    or from the request's target."""

    def complete(self, request: CompletionRequest, *, timeout_s: float) -> Completion:
        """See `Gateway`."""
        sdk = _sdk()
        try:
            answer = sdk.completion(**_asked(request), **_common(request, timeout_s))
            body, cost = _json(answer), _cost(answer)
        except Exception as error:  # noqa: BLE001 - the SDK raises what its providers' libraries do
            raise _failure(error) from None
        return parse_completion(load(body), cost=cost)

    def stream(self, request: CompletionRequest, *, timeout_s: float) -> Iterator[Chunk]:
        """See `Gateway`."""
        sdk = _sdk()
        deadline = Deadline(timeout_s)
        reader = ChunkReader()
        asked = {**_asked(request), "stream": True, "stream_options": {"include_usage": True}}
        try:
            parts = sdk.completion(**asked, **_common(request, timeout_s))
        except Exception as error:  # noqa: BLE001 - as above
            raise _failure(error) from None
        try:
            while True:
                if deadline.seconds_left <= 0:
                    raise failures.timed_out()
                try:
                    part = _json(next(parts))
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001 - as above
                    raise _failure(error, was_executed=True) from None
                chunk = reader.read(part)
                if reader.is_whole and _is_end_made_up(parts):
                    raise failures.broken_off()
                if chunk is not None:
                    yield chunk
        finally:
            _close(parts)
        if (chunk := reader.close()) is not None:
            yield chunk

    def embed(self, request: EmbeddingRequest, *, timeout_s: float) -> Embeddings:
        """See `Gateway`."""
        sdk = _sdk()
        options = {name: value for name, value in request.options.items() if name == "dimensions"}
        try:
            answer = sdk.embedding(input=request.input, **options, **_common(request, timeout_s))
            body, cost = _json(answer), _cost(answer)
        except Exception as error:  # noqa: BLE001 - as above
            raise _failure(error) from None
        return parse_embeddings(load(body), count=len(request.input), cost=cost)


def _sdk() -> Any:
    """LiteLLM's module. Raises: GatewayError when it is not installed, or is a release that steals credentials."""
    with _importing:
        try:
            version = importlib.metadata.version("litellm")
        except importlib.metadata.PackageNotFoundError:
            version = ""
        if version in MALICIOUS:
            log.error(
                "litellm %s is a malicious release: it is not imported. Replace every secret it could see.", version
            )
            raise failures.misconfigured()
        # It would fetch a list of prices at its import; we have our own.
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        try:
            sdk = importlib.import_module("litellm")
        except ImportError:
            log.error("an alias is on the route litellm_sdk, and the extra `litellm` is not installed")
            raise failures.misconfigured() from None
        # It prints advice, and logs hosts and what providers say.
        sdk.suppress_debug_info = True  # type: ignore[attr-defined]
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
        return sdk


def _asked(request: CompletionRequest) -> dict[str, Any]:
    return {name: value for name, value in request.body.items() if name in _PARAMETERS and value is not None}


def _common(request: CompletionRequest | EmbeddingRequest, timeout_s: float) -> dict[str, Any]:
    """What every call of the SDK gets. Retries are the caller's business."""
    place = {} if request.target is None else {"api_base": request.target.base_url, "api_key": request.target.api_key}
    return {
        "model": request.provider_model,
        "user": request.team_id,
        "timeout": timeout_s,
        "num_retries": 0,
        "max_retries": 0,
        **place,
    }


def _json(answer: Any) -> bytes:
    """The answer's JSON, as it would come over the wire."""
    text: str = answer.model_dump_json(warnings=False)
    return text.encode()


def _cost(answer: Any) -> str | None:
    hidden = getattr(answer, "_hidden_params", None)
    cost = hidden.get("response_cost") if isinstance(hidden, dict) else None
    return None if cost is None else str(cost)


def _is_end_made_up(parts: Any) -> bool:
    """Whether the provider sent no finish reason: the SDK makes one up then, and knows it (seen with 1.106.2)."""
    received = getattr(parts, "received_finish_reason", "unknown")
    return received is None and getattr(parts, "intermittent_finish_reason", None) is None


def _close(parts: Any) -> None:
    """End a stream's exchange, also one that is not at its end."""
    for layer in (parts, getattr(parts, "completion_stream", None), getattr(parts, "response", None)):
        close = getattr(layer, "close", None)
        if close is not None:
            try:
                close()
            except Exception:  # noqa: BLE001 - it is over either way
                log.debug("a stream of the SDK did not close")


def _failure(error: Exception, *, was_executed: bool = False) -> GatewayError:
    """The failure behind what the SDK raised: its exceptions are known by name and carry the provider's status."""
    if isinstance(error, GatewayError):
        return error
    names = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status_code", None)
    said = f"{' '.join(names)} {getattr(error, 'code', '')} {error}"
    if names & {"Timeout", "APITimeoutError"}:
        return failures.timed_out()
    # It tells a refused connection from a reset one no more than it tells either from a 500, but by its text.
    if "APIConnectionError" in names or not isinstance(status, int) or "connection error" in said.lower():
        return failures.broken_off()
    headers = getattr(error, "litellm_response_headers", None)
    if headers is None:
        headers = getattr(getattr(error, "response", None), "headers", None)
    wait = headers.get("retry-after") if headers is not None else None
    failure = failures.by_status(status, said, retry_after_s=failures.retry_after(wait))
    failure.was_executed |= was_executed
    return failure
