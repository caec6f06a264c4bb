"""Answers about operators, their tokens, members and the audit log."""

from typing import Any

from typing_extensions import TypedDict

from apps.openapi.kinds import HeldLevel, Id, Instant, KeyStatus, OperatorRight, OperatorRole, one_of


class Operator(TypedDict):
    """Somebody who runs the platform."""

    user_id: Id
    email: str
    display_name: str
    role: OperatorRole
    time_zone: str | None
    is_active: bool
    last_login_at: Instant | None
    created_at: Instant


class OperatorToken(TypedDict):
    """An operator's token without its secret, which is kept nowhere. Without scopes it can what its operator can."""

    token_id: Id
    name: str
    prefix: str
    scopes: list[OperatorRight]
    status: KeyStatus
    expires_at: Instant
    revoked_at: Instant | None
    last_used_at: Instant | None
    last_used_address: str | None
    created_at: Instant
    created_by: str


class OperatorTokenIssued(OperatorToken):
    """A new token. Its secret is in this answer alone; null in a repeat after ten minutes."""

    user_id: Id
    token: str | None


class OperatorTokenRevoked(OperatorToken):
    """A token that is no longer valid."""

    message: str


class Me(TypedDict):
    """Who calls, and what they may do. `operator` and `token_prefix` are null for the master key."""

    kind: one_of(("operator_token", "master_key"))  # type: ignore[valid-type]
    operator: Operator | None
    token_prefix: str | None
    role: OperatorRole
    scopes: list[OperatorRight]
    rights: dict[OperatorRight, HeldLevel]


class Member(TypedDict):
    """Somebody with a place in an organization."""

    user_id: Id
    email: str
    display_name: str
    role: str
    is_active: bool
    last_login_at: Instant | None
    created_at: Instant


class AuditEntry(TypedDict):
    """Who did what to what, or was refused it. `via` is the beginning of the token that was used."""

    audit_id: Id
    created_at: Instant
    actor: str
    via: str | None
    address: str | None
    action: str
    object_kind: str
    object_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None


class AuditEntries(TypedDict):
    """A page of the audit log, newest first. It is too long to be counted."""

    entries: list[AuditEntry]
    has_more: bool
