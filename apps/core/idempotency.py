"""Idempotency keys: a key is committed in the same transaction as the effect it names.

A twin of a running request waits for that transaction at the unique index, then finds the first one's ids.
Source: draft-ietf-httpapi-idempotency-key-header; another body under a known key is refused with 422.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction

from apps.core import clock, crypto
from apps.core.errors import IdempotencyConflict, InvalidField
from apps.core.models import IdempotencyKey

SECRET_REPLAYED_FOR = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Request:
    """A request that may be repeated: whose (`scope`), its key, and a SHA-256 of method, path and body."""

    scope: str
    key: str
    fingerprint: str


@dataclass(slots=True)
class Slot:
    """The place where a request's result is kept. `is_replay`: it had its effect before."""

    row: IdempotencyKey
    is_replay: bool

    @property
    def result(self) -> dict[str, Any]:
        result: dict[str, Any] = self.row.result
        return result

    def record(self, result: dict[str, Any], *, secret: str = "") -> None:
        """Keep the ids from which the answer is rebuilt, and a secret of it, encrypted, for ten minutes."""
        self.row.result = result
        self.row.secret = crypto.encrypt(secret) if secret else ""
        self.row.save(update_fields=["result", "secret"])

    def secret(self) -> str | None:
        """The answer's secret while it may still be replayed."""
        if not self.row.secret or clock.now() - self.row.created_at > SECRET_REPLAYED_FOR:
            return None
        return crypto.decrypt(self.row.secret)


def requested(meta: Mapping[str, Any], *, scope: str, fingerprint: Callable[[], str]) -> Request | None:
    """The Idempotency-Key of an HTTP request with what it covers, None without one. Raises: InvalidField."""
    key = meta.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if not 1 <= len(key) <= 255 or not key.isprintable():
        raise InvalidField("Idempotency-Key", "Must be 1 to 255 printable characters.", value=key[:255])
    return Request(scope, key, fingerprint())


def claim(request: Request) -> Slot:
    """Take the key inside the caller's transaction, or find what its first use did.

    Raises: IdempotencyConflict when the key was used for another request.
    """
    try:
        with transaction.atomic():
            row = IdempotencyKey.objects.create(scope=request.scope, key=request.key, fingerprint=request.fingerprint)
            return Slot(row, is_replay=False)
    except IntegrityError:
        row = IdempotencyKey.objects.get(scope=request.scope, key=request.key)
    if row.fingerprint != request.fingerprint:
        raise IdempotencyConflict
    return Slot(row, is_replay=True)


def find(request: Request) -> Slot | None:
    """What the key's first use did, None when it was not used. Raises: IdempotencyConflict as `claim`."""
    row = IdempotencyKey.objects.filter(scope=request.scope, key=request.key).first()
    if row is None:
        return None
    if row.fingerprint != request.fingerprint:
        raise IdempotencyConflict
    return Slot(row, is_replay=True)


def known(scope: str, key: str) -> Slot | None:
    """What the key's first use did, whatever was asked then: for a page that is only shown again."""
    row = IdempotencyKey.objects.filter(scope=scope, key=key[:255]).first() if "\x00" not in key else None
    return None if row is None else Slot(row, is_replay=True)


def purge(older_than: timedelta, *, limit: int) -> int:
    """Forget keys past their window. Bounded per run."""
    ids = IdempotencyKey.objects.filter(created_at__lt=clock.from_now(-older_than.total_seconds())).values_list("id")
    return IdempotencyKey.objects.filter(id__in=[row[0] for row in ids[:limit]]).delete()[0]
