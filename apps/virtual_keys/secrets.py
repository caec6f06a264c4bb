"""The form of a virtual key: `sk-`, 160 random bits in base62, a 6-character checksum.

The checksum (CRC-32, as in GitHub's token format) lets a malformed key be refused without a query and lets
scanners find leaked keys: docs/api.md has the regular expression.
"""

import secrets
import zlib

PREFIX = "sk-"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_BITS = 160
_BODY_LENGTH = 27  # ceil(160 / log2(62))
_CHECKSUM_LENGTH = 6
_LENGTH = len(PREFIX) + _BODY_LENGTH + _CHECKSUM_LENGTH
SHOWN_LENGTH = len(PREFIX) + 8


def _base62(number: int, *, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), length=_CHECKSUM_LENGTH)


def generate() -> str:
    """A new key from the operating system's randomness."""
    body = PREFIX + _base62(secrets.randbits(_RANDOM_BITS), length=_BODY_LENGTH)
    return body + _checksum(body)


def is_well_formed(secret: str) -> bool:
    """Whether the checksum fits, so that a typing error costs no query."""
    if len(secret) != _LENGTH or not secret.startswith(PREFIX) or not secret.isascii():
        return False
    return secret[-_CHECKSUM_LENGTH:] == _checksum(secret[:-_CHECKSUM_LENGTH])
