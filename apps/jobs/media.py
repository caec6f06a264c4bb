"""What messages may name by URL: a provider fetches it, or LiteLLM does, from inside of our own network. Pure.

Names are not resolved here: whoever fetches does that, and may be told another address.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from apps.catalog import hosts
from apps.core.errors import InvalidField

# Libraries skip blanks and control characters before a URL, and tabs and line breaks in it.
_URL = re.compile(r"[\s\x00-\x20]*" + r"[\t\r\n]*".join("http") + r"[\t\r\ns]*:", re.IGNORECASE)
_TEXT = ("text", "refusal")


def require_fetchable(body: dict[str, Any]) -> None:
    """Raises: InvalidField for a URL that leads into our own network, and for any where MEDIA_URLS is `refuse`."""
    for number, message in enumerate(body.get("messages") or ()):
        content = message.get("content")
        for place, part in enumerate(content if isinstance(content, list) else ()):
            if isinstance(part, dict) and part.get("type") not in _TEXT:
                for name, url in _urls(part):
                    _require(url, "messages", number, "content", place, name)


def _urls(part: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a part names by URL, and under which of its fields: `image_url` is an object, or a text with some."""
    for name, value in part.items():
        for text in value.values() if isinstance(value, dict) else (value,):
            if isinstance(text, str) and _URL.match(text):
                yield name, text


def _require(url: str, *where: str | int) -> None:
    if settings.MEDIA_URLS != "allow":
        message = "URLs are not fetched here. Send the content itself, as a data: URL."
    elif not _is_public(url):
        message = "Must be the URL of a public host, or the content itself, as a data: URL."
    else:
        return
    error = InvalidField(str(where[0]), message, value=url[:200])
    error.errors[0]["loc"] = ["body", *where]
    raise error


def _is_public(url: str) -> bool:
    # Where two readers of a URL disagree on its host, one of them is led elsewhere.
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc or "%" in host:
        return False
    if hosts.is_local_name(host) or host in hosts.METADATA_NAMES:
        return False
    address = hosts.address_of(host)
    return address is None or hosts.is_public(address)
