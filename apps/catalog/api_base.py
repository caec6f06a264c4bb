"""Which addresses a provider's API may have: operators type them, and our workers send secrets there."""

import ipaddress
import re
import socket
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from apps.core.errors import InvalidField

MAX_LENGTH = 500
_URL = re.compile(r"[!-~]+")
# Letters of other scripts may be read as digits and dots by whoever resolves them.
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
# Where clouds tell a machine its secrets; most of them are link-local besides.
_METADATA_NAMES = ("metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal")
_METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


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


def _require_scheme(field: str, parts: SplitResult, host: str) -> None:
    if parts.scheme == "https" or (host in _LOCAL_NAMES and (settings.EMBEDDED or settings.DEBUG)):
        return
    raise InvalidField(field, "Must begin with https://, so that the key is not sent in clear.")


def _require_reachable_host(field: str, host: str) -> None:
    address = _address(host)
    if host in _METADATA_NAMES or (address is not None and _is_refused(address)):
        raise InvalidField(field, "Must not be a link-local, metadata, multicast or unspecified address.")


def _address(host: str) -> Address | None:
    """The address that a host spells, also as `2852039166` or `0xa9.254.169.254`; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _is_refused(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None and _is_refused(inner):
            return True
    return address in _METADATA_ADDRESSES or address.is_link_local or address.is_multicast or address.is_unspecified
