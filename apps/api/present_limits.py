"""Limits and refusals as the wire shows them."""

from typing import Any

from apps.core.clock import iso, now
from apps.limits import gate, services
from apps.limits.index import Applied
from apps.limits.models import Decision, Limit


def limit(found: Limit) -> dict[str, Any]:
    """A limit. `allowed` is what it is now, with a raise that has not ended."""
    is_raised = found.raised_until is not None and found.raised_until > now()
    shown = Applied(found.scope, found.subject, found.metric, found.amount)
    return {
        "limit_id": str(found.pk),
        "scope": found.scope,
        "id": shown.shown_id or None,
        "organization_id": found.organization.organization_id if found.organization else None,
        "team_id": found.team.team_id if found.team else None,
        "metric": found.metric,
        "amount": found.amount,
        "allowed": found.raised_to if is_raised else found.amount,
        "unit": services.unit(found.metric),
        "raised_to": found.raised_to if is_raised else None,
        "raised_until": iso(found.raised_until) if is_raised else None,
        "raise_reason": (found.raise_reason or None) if is_raised else None,
        "created_at": iso(found.created_at),
        "updated_at": iso(found.updated_at),
    }


def decision(found: Decision, *, to_operator: bool) -> dict[str, Any]:
    """A refused call. Its limits are of its own way alone; only operators see the use of shared ones."""
    return {
        "decision_id": str(found.pk),
        "created_at": iso(found.created_at),
        "organization_id": found.organization.organization_id,
        "team_id": found.team.team_id,
        "key_id": found.key_id or None,
        "job_id": found.job_id or None,
        "model": found.model or None,
        "user_id": found.user_id or None,
        "code": found.code,
        "detail": found.message,
        "limits": found.limits if to_operator else [gate.to_customer(each) for each in found.limits],
    }
