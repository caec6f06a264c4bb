"""What must not reach production, said by `manage.py check --deploy`; and what stops a process at its start.

The checks are for deployments alone, so that a laptop stays quiet. Embedded mode passes them all but the one that
refuses it. docs/deployment.md lists them by id.
"""

import base64
import binascii
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

TAG = "saasllm"
KEY_PEPPER_MIN_LENGTH = 32
MASTER_KEY_MIN_LENGTH = 20
_ENCRYPTION_KEY_BYTES = 32
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
# gunicorn takes 3 for "will never boot" and gives up; after any other code it tries for ever.
_EXIT_CODE = 3

Check = Callable[..., list[CheckMessage]]


def _outside_embedded(check: Check) -> Check:
    """Register a deployment check that has nothing to say about the demo."""

    def registered(**kwargs: Any) -> list[CheckMessage]:
        return [] if settings.EMBEDDED else check(**kwargs)

    register(registered, TAG, deploy=True)
    return check


@register(TAG, deploy=True)
def demo_answers_are_not_sold(**_: Any) -> list[CheckMessage]:
    if not settings.EMBEDDED:
        return []
    return [
        Error(
            "SAASLLM_EMBEDDED is set: the demo provider answers customers' calls.",
            hint="Remove it; `manage.py demo` sets it for itself.",
            id="saasllm.E001",
        )
    ]


@_outside_embedded
def debug_is_off(**_: Any) -> list[CheckMessage]:
    if not settings.DEBUG:
        return []
    return [
        Error(
            "DEBUG is on: error pages show settings and customers' data.",
            hint="Remove DEBUG from the environment.",
            id="saasllm.E002",
        )
    ]


@_outside_embedded
def secret_key_is_secret(**_: Any) -> list[CheckMessage]:
    if settings.SECRET_KEY != settings.DEVELOPMENT_SECRET:
        return []
    return [
        Error(
            "SECRET_KEY has its published default: anybody can sign themselves an operator's session.",
            hint="Set it to 50 or more random characters.",
            id="saasllm.E003",
        )
    ]


@_outside_embedded
def key_pepper_is_secret(**_: Any) -> list[CheckMessage]:
    if settings.KEY_PEPPER != settings.DEVELOPMENT_SECRET and len(settings.KEY_PEPPER) >= KEY_PEPPER_MIN_LENGTH:
        return []
    return [
        Error(
            f"KEY_PEPPER has its published default or fewer than {KEY_PEPPER_MIN_LENGTH} characters.",
            hint="Set it before the first virtual key is issued: with another pepper every issued key is unknown.",
            id="saasllm.E004",
        )
    ]


@_outside_embedded
def master_key_is_secret(**_: Any) -> list[CheckMessage]:
    if settings.MASTER_KEY_OFF:
        return []
    if not settings.MASTER_KEY:
        return [
            Warning(
                "MASTER_KEY is not set: operators' endpoints of the API take operator tokens alone.",
                hint="Set MASTER_KEY_OFF=true if that is meant, or set MASTER_KEY.",
                id="saasllm.W001",
            )
        ]
    if settings.MASTER_KEY not in settings.KNOWN_DEFAULT_MASTER_KEYS and (
        len(settings.MASTER_KEY) >= MASTER_KEY_MIN_LENGTH
    ):
        return []
    return [
        Error(
            f"MASTER_KEY is a published default or has fewer than {MASTER_KEY_MIN_LENGTH} characters.",
            hint="Set it to a random secret; it opens every customer's account.",
            id="saasllm.E005",
        )
    ]


@_outside_embedded
def litellm_key_is_secret(**_: Any) -> list[CheckMessage]:
    if settings.LITELLM_MASTER_KEY and settings.LITELLM_MASTER_KEY not in settings.KNOWN_DEFAULT_MASTER_KEYS:
        return []
    return [
        Warning(
            "LITELLM_MASTER_KEY is not set or is a published default: whoever reaches LiteLLM calls for free.",
            hint="Give LiteLLM and this platform the same random secret.",
            id="saasllm.W002",
        )
    ]


@_outside_embedded
def encryption_keys_are_usable(**_: Any) -> list[CheckMessage]:
    if not settings.ENCRYPTION_KEYS:
        return [
            Error(
                "ENCRYPTION_KEY is not set: what is encrypted at rest is lost when SECRET_KEY changes.",
                hint="Set it to 32 random bytes in URL-safe base64.",
                id="saasllm.E006",
            )
        ]
    if all(_is_encryption_key(key) for key in settings.ENCRYPTION_KEYS):
        return []
    return [
        Error(
            "ENCRYPTION_KEY holds something other than keys of 32 bytes in URL-safe base64, divided by commas.",
            hint="head -c 32 /dev/urandom | base64 | tr '+/' '-_'",
            id="saasllm.E007",
        )
    ]


def _is_encryption_key(key: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(key)) == _ENCRYPTION_KEY_BYTES
    except (binascii.Error, ValueError):
        return False


@_outside_embedded
def database_is_postgresql(**_: Any) -> list[CheckMessage]:
    if settings.DATABASES["default"]["ENGINE"].endswith("postgresql"):
        return []
    return [
        Error(
            "DATABASE_URL is not set or names SQLite, which one process at a time can write.",
            hint="DATABASE_URL=postgres://user:password@host:5432/name",
            id="saasllm.E008",
        )
    ]


@_outside_embedded
def workers_can_be_reached(**_: Any) -> list[CheckMessage]:
    if settings.REDIS_URL:
        return []
    return [
        Error(
            "REDIS_URL is not set: no worker would learn of a call.",
            hint="REDIS_URL=redis://host:6379/0",
            id="saasllm.E009",
        )
    ]


@_outside_embedded
def calls_have_a_route(**_: Any) -> list[CheckMessage]:
    if _is_http_url(settings.LITELLM_BASE_URL):
        return []
    return [
        Error(
            "LITELLM_BASE_URL is not set or is no http(s) URL: no call could be made.",
            hint="Set it to LiteLLM's address, such as http://localhost:8002; for demo answers there is `make demo`.",
            id="saasllm.E010",
        )
    ]


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


@_outside_embedded
def web_threads_are_the_servers(**_: Any) -> list[CheckMessage]:
    """The share of threads that may wait is reckoned from WEB_THREADS; granian has its own figure."""
    if settings.GRANIAN_BLOCKING_THREADS in (None, settings.WEB_THREADS):
        return []
    return [
        Error(
            f"WEB_THREADS is {settings.WEB_THREADS}, GRANIAN_BLOCKING_THREADS {settings.GRANIAN_BLOCKING_THREADS}:"
            " too many callers, or too few, would be let in to wait.",
            hint="Give both the same number.",
            id="saasllm.E011",
        )
    ]


@_outside_embedded
def hosts_are_named(**_: Any) -> list[CheckMessage]:
    if "*" in settings.ALLOWED_HOSTS:
        return [
            Error(
                "ALLOWED_HOSTS holds '*': a forged Host header is believed.",
                hint="Name the hosts that customers and operators use.",
                id="saasllm.E012",
            )
        ]
    if set(settings.ALLOWED_HOSTS) - _LOOPBACK:
        return []
    return [
        Warning(
            "ALLOWED_HOSTS names this machine alone: the admin site answers 400 under any other name.",
            hint="Name the hosts that customers and operators use.",
            id="saasllm.W003",
        )
    ]


@_outside_embedded
def redirect_to_https_ends(**_: Any) -> list[CheckMessage]:
    if not settings.SECURE_SSL_REDIRECT or settings.SECURE_PROXY_SSL_HEADER:
        return []
    return [
        Warning(
            "SSL_REDIRECT is on and TRUST_FORWARDED_PROTO off: behind a proxy every request is redirected for ever.",
            hint="Set TRUST_FORWARDED_PROTO, unless the web process speaks TLS itself.",
            id="saasllm.W004",
        )
    ]


def require_startable() -> None:
    """Stop this process, with one line a reason, if it could make no call whatever comes in.

    Raises: SystemExit. Called as the web, worker and beat processes start; commands run all the same.
    """
    if settings.EMBEDDED:
        return
    problems = [*workers_can_be_reached(), *calls_have_a_route()]
    for problem in problems:
        sys.stderr.write(f"Not started: {problem.msg} {problem.hint} ({problem.id})\n")
    if problems:
        raise SystemExit(_EXIT_CODE)
