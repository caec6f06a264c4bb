"""Which addresses a provider's API may have: operators type them, and our workers send secrets there."""

import re
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from apps.catalog import hosts
from apps.core.errors import InvalidField

MAX_LENGTH = 500
_URL = re.compile(r"[!-~]+")
# Letters of other scripts may be read as digits and dots by whoever resolves them.
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def require_api_base(field: str, url: str) -> str:
    """The address as it is kept, without a slash at its end; empty stays empty.

    Raises: InvalidField, without the value: it may hold a secret by mistake.
    """
    if not url:
        return ""
    if len(url) > MAX_LENGTH or not _URL.fullmatch(url):
        raise InvalidField(field, f"Must be a URL of at most {MAX_LENGTH} visible ASCII characters.")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidField(field, "Must be a URL such as https://api.openai.com/v1.") from None
    if not host or not _HOST.fullmatch(host) or parts.scheme not in ("https", "http"):
        raise InvalidField(field, "Must be a URL such as https://api.openai.com/v1.")
    if "@" in parts.netloc or "\\" in url:
        raise InvalidField(field, "Must hold no user name or password: the key goes into api_key.")
    if "?" in url or "#" in url:
        raise InvalidField(field, "Must have neither a query nor a fragment: the key goes into api_key.")
    _require_scheme(field, parts, host)
    _require_reachable_host(field, host.rstrip("."))
    return url.rstrip("/")


def may_connect(host: str, address: str) -> bool:
    """Whether a request to an api_base of this host may go to this address, which its name was resolved to.

    Whoever typed an internal address, or `localhost`, meant it. What a name stands for is decided by whoever owns its
    domain, at any moment anew.
    """
    parsed = hosts.address_of(address)
    if parsed is None or hosts.is_forbidden(parsed):
        return False
    if settings.PROVIDERS_MAY_BE_INTERNAL or hosts.address_of(host) is not None or hosts.is_local_name(host):
        return True
    return hosts.is_public(parsed)


def _require_scheme(field: str, parts: SplitResult, host: str) -> None:
    if parts.scheme == "https" or (host in _LOCAL_NAMES and (settings.EMBEDDED or settings.DEBUG)):
        return
    raise InvalidField(field, "Must begin with https://, so that the key is not sent in clear.")


def _require_reachable_host(field: str, host: str) -> None:
    address = hosts.address_of(host)
    if host in hosts.METADATA_NAMES or (address is not None and hosts.is_forbidden(address)):
        raise InvalidField(field, "Must not be a link-local, metadata, multicast or unspecified address.")
