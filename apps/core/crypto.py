"""Keyed hashes and encryption at rest. Secrets are compared by digest and never stored in clear."""

import base64
import hashlib
import hmac
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


def keyed_hash(secret: str) -> str:
    """HMAC-SHA256 of a random secret under the server's pepper, as 64 hex digits.

    No slow hash: virtual keys carry 160 random bits, so guessing is hopeless at any speed.
    """
    return hmac.new(settings.KEY_PEPPER.encode(), secret.encode(), hashlib.sha256).hexdigest()


def fingerprint(*parts: bytes) -> str:
    """SHA-256 over the parts with their lengths, so that no two lists of parts collide."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def equal(left: str, right: str) -> bool:
    """Constant-time comparison."""
    return hmac.compare_digest(left.encode(), right.encode())


@lru_cache(maxsize=4)
def _fernet(keys: tuple[str, ...], fallback: str) -> tuple[Fernet, MultiFernet]:
    """The newest key, which encrypts, and all of them, which decrypt."""
    derived = base64.urlsafe_b64encode(hashlib.sha256(b"encryption:" + fallback.encode()).digest()).decode()
    fernets = [Fernet(key) for key in (*keys, derived)]
    return fernets[0], MultiFernet(fernets)


def _ours() -> tuple[Fernet, MultiFernet]:
    return _fernet(tuple(settings.ENCRYPTION_KEYS), settings.SECRET_KEY)


def encrypt(text: str) -> str:
    """Encrypt with the newest of ENCRYPTION_KEY (else a key derived from SECRET_KEY)."""
    return _ours()[0].encrypt(text.encode()).decode()


def decrypt(token: str) -> str | None:
    """The text, or None when no key of ours made the token."""
    try:
        return _ours()[1].decrypt(token.encode()).decode()
    except InvalidToken:
        return None


def is_newest(token: str) -> bool:
    """Whether the key that encrypts today made the token."""
    try:
        _ours()[0].decrypt(token.encode())
    except InvalidToken:
        return False
    return True
