"""The route to a LiteLLM proxy over HTTP, as to anything that speaks OpenAI's chat completions.

Every failure becomes a GatewayError from the lists below; what is on none of them is a plain 500.
"""

import json
import math
import threading
import time
from decimal import Decimal, InvalidOperation
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import orjson
import requests
from django.conf import settings

from apps.core.money import NANOUSD
from apps.jobs.gateway.interface import FINISH_REASONS, Completion, CompletionRequest, GatewayError, Usage

# What providers call the same thing (through LiteLLM or not).
_FINISH_SPELLINGS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
    "complete": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "safety": "content_filter",
    "refusal": "content_filter",
}
# How a LiteLLM proxy spells a wrong key or an unknown model with status 400 or 500 (seen with 1.106.2).
_OUR_FAULT = ("no_db_connection", "no connected db", "invalid model name", "no api key passed in")
_CONTENT_FILTER = ("content_filter", "contentpolicy", "content management policy")
# Above it a token count is nonsense, whatever was asked.
_MAX_TOKENS = 1_000_000_000
# Above it a reported cost of one call is nonsense.
_MAX_COST_USD = 10_000
# How deep an answer's choices lie in what is stored and sent, generously.
_ENVELOPE_DEPTH = 8

_local = threading.local()


class LiteLLMProxy:
    """A LiteLLM proxy at LITELLM_BASE_URL."""

    def complete(self, request: CompletionRequest, *, timeout_s: float) -> Completion:
        """See `Gateway`. `timeout_s` bounds the whole exchange, however slowly the bytes come."""
        ends_at = time.monotonic() + timeout_s
        try:
            response = _session().send(
                _prepared(request),
                timeout=(min(settings.GATEWAY_CONNECT_TIMEOUT_S, timeout_s), timeout_s),
                stream=True,
                allow_redirects=False,
            )
            with response:
                content = _read(response, ends_at)
        except requests.exceptions.ConnectTimeout as error:
            raise _unreachable() from error
        except requests.exceptions.Timeout as error:
            raise _timed_out() from error
        except requests.exceptions.ConnectionError as error:
            # requests tells a refused connection from a reset one only by the cause's text.
            if "NewConnectionError" in repr(error) or "NameResolutionError" in repr(error):
                raise _unreachable() from error
            raise _broken_off() from error
        except (requests.exceptions.RequestException, OSError) as error:
            raise _broken_off() from error
        if response.status_code != 200:
            raise _refused(response, content)
        return _parse(response, content)


def _prepared(request: CompletionRequest) -> requests.PreparedRequest:
    """The HTTP request. Preparing one from nothing is a third of what a call costs here, so that it is copied."""
    place = (settings.LITELLM_BASE_URL, settings.LITELLM_MASTER_KEY)
    template: requests.PreparedRequest | None = getattr(_local, "template", None)
    if template is None or _local.template_place != place:
        headers = {"Content-Type": "application/json"}
        if settings.LITELLM_MASTER_KEY:
            headers["Authorization"] = f"Bearer {settings.LITELLM_MASTER_KEY}"
        url = f"{settings.LITELLM_BASE_URL}/v1/chat/completions"
        template = _session().prepare_request(requests.Request("POST", url, headers=headers, data=b"{}"))
        _local.template, _local.template_place = template, place
    prepared = template.copy()
    prepared.body = orjson.dumps({**request.body, "model": request.provider_model, "user": request.team_id})
    prepared.headers.update(
        {
            "Content-Length": str(len(prepared.body)),
            "x-saasllm-call-id": request.call_id,
            "x-saasllm-attempt-id": request.attempt_id,
        }
    )
    return prepared


def _session() -> requests.Session:
    """One session per thread: its connections are kept alive, and no lock is shared."""
    session: requests.Session | None = getattr(_local, "session", None)
    if session is None:
        session = requests.Session()
        # Neither proxies nor .netrc from the environment: 30 % cheaper, and no surprise destination.
        session.trust_env = False
        # A cookie from one team's call must not travel with the next team's.
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        _local.session = session
    return session


def _read(response: requests.Response, ends_at: float) -> bytes:
    """The body, within the deadline and the size limit: a socket timeout alone bounds only each single read."""
    parts: list[bytes] = []
    size = 0
    while True:
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            raise _timed_out()
        try:
            _limit_next_read(response, left_s)
            part = response.raw.read1(65_536, decode_content=True)
        except Exception as error:
            # urllib3's errors are not requests' when one reads `raw`; all mean that the body did not come whole.
            if "Timeout" in type(error).__name__:
                raise _timed_out() from error
            raise _broken_off() from error
        if not part:
            return b"".join(parts)
        size += len(part)
        if size > settings.GATEWAY_MAX_ANSWER_BYTES:
            raise GatewayError(
                "provider_malformed", "the model backend's answer is too large", status=500, was_executed=True
            )
        parts.append(part)


def _limit_next_read(response: requests.Response, seconds: float) -> None:
    """Let the socket wait for what is left of the deadline: it was set before the headers came."""
    file = getattr(response.raw, "_fp", None)
    buffered = getattr(file, "fp", None)
    # None once the body has been read to its end.
    if buffered is not None:
        buffered.raw._sock.settimeout(seconds)


def _unreachable() -> GatewayError:
    return GatewayError(
        "provider_unavailable",
        "the model backend cannot be reached",
        status=503,
        is_retryable=True,
        retry_after_s=2,
    )


def _timed_out() -> GatewayError:
    return GatewayError(
        "provider_timeout", "the model backend did not answer in time", status=503, is_retryable=True,
        retry_after_s=2, was_executed=True,
    )  # fmt: skip


def _broken_off() -> GatewayError:
    return GatewayError(
        "provider_unavailable", "the model backend broke off", status=503, is_retryable=True,
        retry_after_s=2, was_executed=True,
    )  # fmt: skip


def _malformed() -> GatewayError:
    return GatewayError(
        "provider_malformed", "the model backend's answer cannot be read", status=500, is_retryable=True,
        was_executed=True,
    )  # fmt: skip


def _refused(response: requests.Response, content: bytes) -> GatewayError:
    """The failure behind a status other than 200, by an allowlist: unknown is a plain 500."""
    status = response.status_code
    said = _error_text(content)
    if status in (400, 500) and any(text in said for text in _OUR_FAULT):
        return GatewayError("provider_configuration", "the model is not available", status=503, retry_after_s=30)
    if status == 400 and any(text in said for text in _CONTENT_FILTER):
        return GatewayError("content_filter", "the content was refused by the model's filter", status=400)
    if status in (400, 413, 422):
        return GatewayError("provider_rejected", "the model rejected the request as invalid", status=400)
    if status in (401, 403, 404):
        return GatewayError("provider_configuration", "the model is not available", status=503, retry_after_s=30)
    if status == 429:
        return GatewayError(
            "provider_rate_limited", "the model is rate limited, try again later", status=429, is_retryable=True,
            retry_after_s=_retry_after(response),
        )  # fmt: skip
    if status in (408, 502, 503, 504, 529):
        return GatewayError(
            "provider_unavailable", "the model backend is unavailable", status=503, is_retryable=True,
            retry_after_s=_retry_after(response),
        )  # fmt: skip
    return GatewayError(
        "provider_error", "the model backend reported an error", status=500, is_retryable=status >= 500,
        was_executed=True,
    )  # fmt: skip


def _error_text(content: bytes) -> str:
    """What the backend says, in lower case, to look for known words in: it is never passed on."""
    return content[:4000].decode(errors="replace").lower()


def _retry_after(response: requests.Response) -> int:
    """Seconds of a Retry-After header, 1 to 300; 5 when there is none or it is a date."""
    text = response.headers.get("Retry-After", "")
    return min(max(int(text), 1), 300) if text.isdecimal() and len(text) < 10 else 5


def _parse(response: requests.Response, content: bytes) -> Completion:
    body = _load(content)
    if not isinstance(body, dict):
        raise _malformed()
    if body.get("error"):
        raise GatewayError(
            "provider_error",
            "the model backend reported an error",
            status=500,
            is_retryable=True,
            was_executed=True,
        )
    choices = [_choice(index, choice) for index, choice in enumerate(_list(body.get("choices")))]
    if not choices or not _can_be_kept(choices):
        raise _malformed()
    raw_usage = body.get("usage")
    usage = read_usage(raw_usage)
    if usage == Usage(0, 0) and any(_says_something(choice["message"]) for choice in choices):
        # LiteLLM fills in zeros where its upstream sent no usage.
        usage = None
    return Completion(
        provider_id=_text(body.get("id")),
        created=_whole(body.get("created")) or int(time.time()),
        # PostgreSQL stores no NUL in a text.
        resolved_model=_text(body.get("model")).replace("\0", "")[:255],
        choices=choices,
        usage=usage,
        raw_usage=_dumped(raw_usage)[:4000] if raw_usage is not None else "",
        cost_nanousd=read_cost(response.headers.get("x-litellm-response-cost")),
    )


def _load(content: bytes) -> Any:
    """The answer's JSON, also where a strict parser refuses it: for NaN in a usage, or half an emoji (a surrogate
    without its other half, where an answer was cut) in a text. Raises: GatewayError."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            lenient = json.dumps(json.loads(content, parse_constant=str), ensure_ascii=False)
            return orjson.loads(lenient.encode(errors="replace"))
        except (ValueError, RecursionError):
            raise _malformed() from None


def _can_be_kept(choices: list[Any]) -> bool:
    """Whether the answer can be stored and sent on: the writer's depth limit is below the parser's."""
    for _ in range(_ENVELOPE_DEPTH):
        choices = [choices]
    return bool(_dumped(choices))


def _dumped(value: object) -> str:
    """`value` as JSON, empty when it is nested too deeply for that."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return ""


def _says_something(message: dict[str, Any]) -> bool:
    return bool(message["content"] or message.get("tool_calls"))


def _choice(index: int, choice: object) -> dict[str, Any]:
    """One choice as it is sent on: role and content always there, finish reason in OpenAI's spelling."""
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise _malformed()
    message = {name: value for name, value in choice["message"].items() if value is not None}
    # LiteLLM puts the provider's own fields there, which name the provider.
    message.pop("provider_specific_fields", None)
    content = message.get("content", "")
    if not isinstance(content, str):
        content = "".join(_text(part.get("text")) for part in _list(content) if isinstance(part, dict))
    message |= {"role": "assistant", "content": content}
    reason = _text(choice.get("finish_reason")).lower()
    reason = _FINISH_SPELLINGS.get(reason, reason)
    if reason not in FINISH_REASONS:
        reason = "tool_calls" if message.get("tool_calls") else "stop"
    result = {"index": index, "message": message, "finish_reason": reason}
    if choice.get("logprobs") is not None:
        result["logprobs"] = choice["logprobs"]
    return result


def read_usage(raw: object) -> Usage | None:
    """Usage that can be believed: whole, not negative, not absurd. None otherwise, and the call is estimated."""
    if not isinstance(raw, dict):
        return None
    prompt, completion = _whole(raw.get("prompt_tokens")), _whole(raw.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    return Usage(prompt, completion) if prompt <= _MAX_TOKENS and completion <= _MAX_TOKENS else None


def read_cost(text: str | None) -> int | None:
    """A reported cost in dollars as nano-dollars, rounded up; None when missing, negative or absurd."""
    if not text:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    # Compared before it is multiplied: an absurd exponent overflows.
    if not value.is_finite() or not 0 <= value <= _MAX_COST_USD:
        return None
    return math.ceil(value * NANOUSD)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
