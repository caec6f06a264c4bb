"""Answers about virtual keys."""

from typing_extensions import TypedDict

from apps.openapi.answers.shared import Page
from apps.openapi.kinds import Id, Instant, KeyStatus


class VirtualKey(TypedDict):
    """A virtual key without its secret, which is kept nowhere."""

    key_id: Id
    team_id: str
    name: str | None
    prefix: str
    status: KeyStatus
    scopes: list[str]
    models_allowed: list[str]
    addresses_allowed: list[str]
    expires_at: Instant | None
    revoked_at: Instant | None
    replaced_by: Id | None
    last_used_at: Instant | None
    created_at: Instant
    created_by: str | None


class VirtualKeys(Page):
    """Keys of all teams."""

    keys: list[VirtualKey]


class VirtualKeyIssued(VirtualKey):
    """A new key. Its secret is in this answer alone; null in a repeat after ten minutes."""

    virtual_key: str | None


class VirtualKeyRotated(VirtualKey):
    """A new key in the place of an old one, which stays valid until `old_key_expires_at`."""

    virtual_key: str | None
    replaces: Id
    old_key_expires_at: Instant | None


class VirtualKeyRevoked(VirtualKey):
    """A key that is no longer valid."""

    message: str
