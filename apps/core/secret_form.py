"""The form of secrets that we issue: a prefix, 160 random bits in base62, a 6-character checksum.

The checksum (CRC-32, as in GitHub's token format) lets a malformed secret be refused without a query and lets
scanners find leaked ones: docs/api.md has the regular expression.
"""

import secrets
import zlib

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_BITS = 160
_BODY_LENGTH = 27  # ceil(160 / log2(62))
_CHECKSUM_LENGTH = 6
_SHOWN_OF_BODY = 8


def _base62(number: int, *, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), length=_CHECKSUM_LENGTH)


class SecretForm:
    """Secrets that begin with `prefix`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.shown_length = len(prefix) + _SHOWN_OF_BODY
        self._length = len(prefix) + _BODY_LENGTH + _CHECKSUM_LENGTH

    def generate(self) -> str:
        """A new secret from the operating system's randomness."""
        body = self.prefix + _base62(secrets.randbits(_RANDOM_BITS), length=_BODY_LENGTH)
        return body + _checksum(body)

    def is_well_formed(self, secret: str) -> bool:
        """Whether the checksum fits, so that a typing error costs no query."""
        if len(secret) != self._length or not secret.startswith(self.prefix) or not secret.isascii():
            return False
        return secret[-_CHECKSUM_LENGTH:] == _checksum(secret[:-_CHECKSUM_LENGTH])

    def shown(self, secret: str) -> str:
        """Its first characters, to recognise it by."""
        return secret[: self.shown_length]
