"""Operators, their tokens, members and the audit log as JSON."""

from typing import Any

from apps.core.clock import iso, now
from apps.core.models import AuditEntry
from apps.organizations.models import Membership, OperatorToken, User


def operator(user: User) -> dict[str, Any]:
    return {
        "user_id": str(user.public_id),
        "email": user.email,
        "display_name": user.display_name,
        "role": user.role,
        "time_zone": user.time_zone or None,
        "is_active": user.is_active,
        "last_login_at": iso(user.last_login),
        "created_at": iso(user.created_at),
    }


def token(found: OperatorToken) -> dict[str, Any]:
    return {
        "token_id": str(found.pk),
        "name": found.name,
        "prefix": found.prefix,
        "scopes": found.scopes,
        "status": _status(found),
        "expires_at": iso(found.expires_at),
        "revoked_at": iso(found.revoked_at),
        "last_used_at": iso(found.last_used_at),
        "last_used_address": found.last_used_address or None,
        "created_at": iso(found.created_at),
        "created_by": found.created_by,
    }


def member(found: Membership) -> dict[str, Any]:
    return {
        "user_id": str(found.user.public_id),
        "email": found.user.email,
        "display_name": found.user.display_name,
        "role": found.role,
        "is_active": found.user.is_active,
        "last_login_at": iso(found.user.last_login),
        "created_at": iso(found.created_at),
    }


def audit_entry(entry: AuditEntry) -> dict[str, Any]:
    return {
        "audit_id": str(entry.pk),
        "created_at": iso(entry.created_at),
        "actor": entry.actor,
        "via": entry.via or None,
        "address": entry.address or None,
        "action": entry.action,
        "object_kind": entry.object_kind,
        "object_id": entry.object_id,
        "before": entry.before,
        "after": entry.after,
        "reason": entry.reason or None,
    }


def _status(found: OperatorToken) -> str:
    if found.revoked_at is not None:
        return "revoked"
    return "active" if found.expires_at > now() else "expired"
