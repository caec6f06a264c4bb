"""OpenAI's API over HTTP, for the routes that speak it: completions, streams, embeddings.

Invariant: what goes wrong is a GatewayError from failures.py, and an exchange is over at its deadline.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPException
from itertools import chain
from typing import Any

import orjson
import requests
from django.conf import settings
from urllib3.exceptions import HTTPError

from apps.jobs.gateway import deadline as exchange
from apps.jobs.gateway import failures
from apps.jobs.gateway.deadline import Deadline
from apps.jobs.gateway.guard import AddressRefused
from apps.jobs.gateway.interface import (
    Chunk,
    Completion,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    GatewayError,
    Target,
)
from apps.jobs.gateway.openai_wire import ChunkReader, chunks_of, load, parse_completion, parse_embeddings
from apps.jobs.gateway.sse import EventReader

log = logging.getLogger("saasllm.execution")
_COST_HEADER = "x-litellm-response-cost"
_DONE = b"[DONE]"
# How long a stream's usage is awaited once its answer is whole: some send neither that nor an end.
_USAGE_WAIT_S = 5.0
# How long the end of a stream is awaited after `[DONE]`, to keep the connection for the next call.
_END_WAIT_S = 0.05
_TEMPLATES_MAX = 64
_BEFORE_SENDING = ("NewConnectionError", "NameResolutionError", "SSLCertVerificationError")

_local = threading.local()


def complete(target: Target, request: CompletionRequest, *, timeout_s: float, has_cost: bool = False) -> Completion:
    """See `Gateway`. With `has_cost` the target's word on what it cost is taken."""
    deadline = Deadline(timeout_s)
    body = {**request.body, "model": request.provider_model, "user": request.team_id}
    with closing(_send(target, "/chat/completions", request, body, deadline=deadline)) as response:
        answer = load(_answer(response, deadline))
    return parse_completion(answer, cost=response.headers.get(_COST_HEADER) if has_cost else None)


def stream(
    target: Target, request: CompletionRequest, *, timeout_s: float, has_cost: bool = False
) -> Iterator[Chunk]:
    """See `Gateway`. The exchange begins when the first chunk is asked for."""
    deadline = Deadline(timeout_s)
    options = request.body.get("stream_options")
    body = {
        **request.body,
        "model": request.provider_model,
        "user": request.team_id,
        "stream": True,
        "stream_options": {**(options if isinstance(options, dict) else {}), "include_usage": True},
    }
    with closing(_send(target, "/chat/completions", request, body, deadline=deadline)) as response:
        if response.status_code != 200:
            raise _refused(response, deadline)
        pieces = _pieces(response, deadline)
        start = b""
        for piece in pieces:
            start += piece
            if not start.isspace():
                break
        if start.lstrip().startswith(b"{"):
            # Not a stream after all: some answer whole, or refuse with status 200.
            answer = load(start + b"".join(pieces))
            cost = response.headers.get(_COST_HEADER) if has_cost else None
            yield from chunks_of(parse_completion(answer, cost=cost), split=lambda text: [text] if text else [])
            return
        wanted = request.body.get("n")
        reader = ChunkReader(choices=wanted if isinstance(wanted, int) else 1, has_cost=has_cost)
        yield from _chunks(chain([start], pieces), reader, deadline)


def embed(target: Target, request: EmbeddingRequest, *, timeout_s: float, has_cost: bool = False) -> Embeddings:
    """See `Gateway`."""
    deadline = Deadline(timeout_s)
    body = {
        **request.options,
        "model": request.provider_model,
        "user": request.team_id,
        "input": request.input,
        "encoding_format": "float",
    }
    with closing(_send(target, "/embeddings", request, body, deadline=deadline)) as response:
        answer = load(_answer(response, deadline))
    cost = response.headers.get(_COST_HEADER) if has_cost else None
    return parse_embeddings(answer, count=len(request.input), cost=cost)


def _chunks(pieces: Iterator[bytes], reader: ChunkReader, deadline: Deadline) -> Iterator[Chunk]:
    """The chunks of a stream, each as soon as its event is there. Raises: GatewayError if the answer is not whole."""
    events = EventReader()
    try:
        for piece in pieces:
            for data in events.feed(piece):
                if data == _DONE:
                    if (chunk := reader.close()) is not None:
                        yield chunk
                    deadline.shorten(_END_WAIT_S)
                    with suppress(GatewayError):
                        for _ in pieces:
                            pass
                    return
                if (chunk := reader.read(data)) is not None:
                    yield chunk
            if reader.has_all:
                deadline.shorten(_USAGE_WAIT_S)
    except GatewayError:
        # What is missing of a whole answer is its usage at most, and that is estimated.
        if not reader.has_all:
            raise
        return
    if (rest := events.rest()) not in (b"", _DONE):
        # The last event, without the blank line after it; or half of one.
        with suppress(GatewayError):
            if (chunk := reader.read(rest)) is not None:
                yield chunk
    if not reader.is_whole:
        raise failures.broken_off()


def _send(
    target: Target,
    path: str,
    request: CompletionRequest | EmbeddingRequest,
    body: dict[str, Any],
    *,
    deadline: Deadline,
) -> requests.Response:
    """The answer's head. Raises: GatewayError. Causes are left out of it, since they name hosts."""
    try:
        prepared = _prepared(target, path)
    except (requests.exceptions.RequestException, ValueError):
        raise failures.misconfigured() from None
    try:
        prepared.body = orjson.dumps(body)
    except TypeError:
        # Half an emoji, or nested too deeply.
        raise failures.rejected() from None
    prepared.headers.update(
        {
            "Content-Length": str(len(prepared.body)),
            "x-saasllm-call-id": request.call_id,
            "x-saasllm-attempt-id": request.attempt_id,
        }
    )
    if "stream" in body:
        # A compressor would hold back what it has not enough of.
        prepared.headers.update({"Accept": "text/event-stream", "Accept-Encoding": "identity"})
    try:
        return exchange.send(
            prepared,
            deadline=deadline,
            connect_s=settings.GATEWAY_CONNECT_TIMEOUT_S,
            is_guarded=not target.is_ours,
        )
    except AddressRefused:
        log.warning("call %s: its provider's host leads into our own network", request.call_id)
        raise failures.misconfigured() from None
    except requests.exceptions.ConnectTimeout:
        raise failures.unreachable() from None
    except requests.exceptions.Timeout:
        raise failures.timed_out() from None
    except requests.exceptions.ConnectionError as error:
        # requests tells a refused connection from a reset one only by the cause's text.
        if any(cause in repr(error) for cause in _BEFORE_SENDING):
            raise failures.unreachable() from None
        raise failures.broken_off() from None
    except requests.exceptions.InvalidURL:
        raise failures.misconfigured() from None
    except (requests.exceptions.RequestException, HTTPError, HTTPException, OSError, ValueError):
        raise failures.broken_off() from None


def _prepared(target: Target, path: str) -> requests.PreparedRequest:
    """The HTTP request. Preparing one from nothing is a third of what a call costs here, so that it is copied.

    Raises: ValueError or what requests raises, for an address or a key that cannot be one.
    """
    templates: dict[tuple[str, str, str], requests.PreparedRequest] | None = getattr(_local, "templates", None)
    if templates is None or len(templates) > _TEMPLATES_MAX:
        templates = _local.templates = {}
    place = (target.base_url, target.api_key, path)
    template = templates.get(place)
    if template is None:
        if not target.base_url.lower().startswith(("http://", "https://")) or not target.api_key.isascii():
            raise ValueError
        headers = {"Content-Type": "application/json"}
        if target.api_key:
            headers["Authorization"] = f"Bearer {target.api_key}"
        url = f"{target.base_url.rstrip('/')}{path}"
        template = exchange.session().prepare_request(requests.Request("POST", url, headers=headers, data=b"{}"))
        templates[place] = template
    return template.copy()


def _pieces(response: requests.Response, deadline: Deadline) -> Iterator[bytes]:
    """The body as it comes, within the deadline and the size limit. Raises: GatewayError."""
    size = 0
    while True:
        # What lies in a buffer already is not read from the socket, which minds the deadline itself.
        if deadline.seconds_left <= 0:
            raise failures.timed_out()
        try:
            piece = response.raw.read1(65_536, decode_content=True)
        except Exception as error:  # noqa: BLE001 - urllib3's, http.client's, the decoders': the body did not come whole
            if "Timeout" in type(error).__name__:
                raise failures.timed_out() from None
            raise failures.broken_off() from None
        if not piece:
            return
        size += len(piece)
        if size > settings.GATEWAY_MAX_ANSWER_BYTES:
            raise failures.too_large()
        yield piece


def _answer(response: requests.Response, deadline: Deadline) -> bytes:
    """The whole body of a good answer. Raises: GatewayError."""
    if response.status_code != 200:
        raise _refused(response, deadline)
    return b"".join(_pieces(response, deadline))


def _refused(response: requests.Response, deadline: Deadline) -> GatewayError:
    """The failure behind a status other than 200. Raises: GatewayError when the body does not come whole."""
    said = b"".join(_pieces(response, deadline))[:4000].decode(errors="replace")
    return failures.by_status(
        response.status_code, said, retry_after_s=failures.retry_after(response.headers.get("Retry-After"))
    )
