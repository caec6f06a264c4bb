"""Rows as the wire shows them. To a key: names it asked for and client costs, never provider models or costs."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from apps.analytics.statement_files import transaction_type
from apps.catalog.services import TeamModels
from apps.core.clock import iso, now
from apps.core.money import exact_credits, whole_credits
from apps.credits import pricing
from apps.credits.allowances import Refill
from apps.credits.billing import Balance, Plan, Posting
from apps.jobs import escrow
from apps.jobs.models import Call, Job
from apps.jobs.receipt_wire import client_cost_usd
from apps.jobs.streaming.chunks import completion_id, usage
from apps.organizations.models import Organization
from apps.teams.models import Team
from apps.virtual_keys.models import VirtualKey


def client_cost_nanousd(job: Job) -> int:
    """What a job's calls cost its customer: the provider's cost with the job's markup."""
    markup_ppm = (job.terms or {}).get("markup_ppm", 0)
    return pricing.client_cost_nanousd(job.provider_cost_nanousd, markup_ppm=markup_ppm)


def costs(job: Job, balance: Balance, *, show_costs: bool = True) -> dict[str, Any]:
    """What a job came to and what its team has left."""
    return {
        "total_calls": job.total_calls,
        "successful_calls": job.successful_calls,
        "failed_calls": job.failed_calls,
        "total_tokens": job.total_tokens,
        "total_cost_usd": client_cost_usd(job, job.provider_cost_nanousd, places=6, show_costs=show_costs),
        "avg_latency_ms": job.latency_total_ms // job.successful_calls if job.successful_calls else 0,
        "credit_applied": job.credit_applied,
        "credits_charged": exact_credits(job.charged_micros),
        "charge_pending": job.charge_state == Job.ChargeState.PENDING,
        "credits_remaining": balance.as_wire()["credits_remaining"],
        "credits_held": balance.as_wire()["credits_held"],
        "credits_exact": balance.as_wire()["credits_exact"],
    }


def call_line(call: Call) -> dict[str, Any]:
    """A call in its job's list."""
    return {
        "call_id": str(call.pk),
        "purpose": call.purpose or None,
        "model_group": call.model_group_used,
        "status": call.state,
        "tokens": call.total_tokens,
        "latency_ms": call.latency_ms,
        "error": call.error_message or None,
        "created_at": iso(call.created_at),
    }


def job(found: Job) -> dict[str, Any]:
    """A job without its calls. `found.team` and `found.organization` are loaded."""
    return {
        "job_id": str(found.pk),
        "team_id": found.team.team_id,
        "organization_id": found.organization.organization_id,
        "user_id": found.user_id or None,
        "job_type": found.job_type,
        "status": found.wire_status,
        "paused_reason": found.paused_reason or None,
        "created_at": iso(found.created_at),
        "started_at": iso(found.started_at),
        "completed_at": iso(found.completed_at),
        "metadata": found.metadata,
        "error_message": found.error_message or None,
        "external_task_id": None,
        "credit_applied": found.credit_applied,
        "credits_charged": exact_credits(found.charged_micros),
        "charge_pending": found.charge_state == Job.ChargeState.PENDING,
        "model_groups_used": found.model_groups_used,
        "deadline": iso(found.deadline_at),
        "escrow": escrow.as_wire(found),
    }


def completion(found: Job, calls: list[Call], balance: Balance, *, show_costs: bool) -> dict[str, Any]:
    """The answer to completing a job; counts and balance also at the top, where some clients read them."""
    figures = costs(found, balance, show_costs=show_costs)
    return {
        "job_id": str(found.pk),
        "status": found.wire_status,
        "completed_at": iso(found.completed_at),
        "costs": figures,
        "calls": [call_line(call) for call in calls],
        "credits_remaining": figures["credits_remaining"],
        "total_calls": figures["total_calls"],
        "charge_pending": figures["charge_pending"],
        "escrow": escrow.as_wire(found),
    }


def answer(call: Call) -> dict[str, Any]:
    """A succeeded call: the short form (`response`, `metadata`) and an OpenAI completion, beside each other.

    When its payload is past retention, the metadata stands with `content_expired`.
    """
    if call.kind == Call.Kind.EMBEDDING:
        return _embeddings(call)
    payload = getattr(call, "payload", None)
    stored: dict[str, Any] = orjson.loads(payload.response) if payload is not None and payload.response else {}
    choices = stored.get("choices") or []
    first = choices[0] if choices else {"message": {}, "finish_reason": None}
    message = first["message"]
    body = {
        "call_id": str(call.pk),
        "job_id": str(call.job_id),
        "status": call.state,
        "response": {
            "content": message.get("content") or "",
            "role": "assistant",
            "finish_reason": first["finish_reason"],
            "tool_calls": message.get("tool_calls"),
        },
        "metadata": {
            "tokens_used": call.total_tokens,
            "latency_ms": call.latency_ms,
            "model": call.model_group_used,
            "model_group": call.model_group_used,
        },
        "id": completion_id(call),
        "object": "chat.completion",
        "created": stored.get("created") or _timestamp(call.created_at),
        "model": call.model_group_used,
        "choices": choices,
        "usage": usage(call),
    }
    if not stored:
        body["content_expired"] = True
    return body


def _embeddings(call: Call) -> dict[str, Any]:
    """A succeeded call for embeddings, in OpenAI's shape."""
    payload = getattr(call, "payload", None)
    stored: dict[str, Any] = orjson.loads(payload.response) if payload is not None and payload.response else {}
    body: dict[str, Any] = {
        "call_id": str(call.pk),
        "job_id": str(call.job_id),
        "status": call.state,
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(stored.get("embeddings") or [])
        ],
        "model": call.model_group_used,
        "usage": usage(call),
    }
    if not stored:
        body["content_expired"] = True
    return body


def organization(found: Organization, *, to_operator: bool) -> dict[str, Any]:
    """An organization. Why it was suspended is for operators."""
    body = {
        "organization_id": found.organization_id,
        "name": found.name,
        "status": found.status,
        "display_currency": found.display_currency,
        "metadata": found.metadata,
        "time_zone": found.time_zone,
        "stores_content": found.stores_content,
        "content_retention_h": found.content_retention_h,
        "created_at": iso(found.created_at),
        "updated_at": iso(found.updated_at),
        "default_team": None,
    }
    return body | {"status_reason": found.status_reason or None} if to_operator else body


@dataclass(frozen=True, slots=True)
class TeamFacts:
    """A team (with its organization) and what other apps know of it."""

    team: Team
    models: TeamModels
    balance: Balance
    plan: Plan
    key_prefix: str | None


def team(facts: TeamFacts, *, to_operator: bool) -> dict[str, Any]:
    """A team, with what is read of it most at the top.

    To an operator `status` is the team's own; to the team's key it is what the key meets, the organization's too.
    """
    found, models, plan = facts.team, facts.models, facts.plan
    body = {
        "team_id": found.team_id,
        "organization_id": found.organization.organization_id,
        "team_alias": found.alias or None,
        "status": _status(found, to_operator=to_operator),
        **facts.balance.as_wire(),
        "budget_mode": plan.budget_mode,
        "credits_per_dollar": plan.credits_per_dollar,
        "tokens_per_credit": plan.tokens_per_credit,
        "cost_markup_percentage": _markup(plan, to_operator=to_operator),
        "access_groups": models.access_groups,
        "model_groups": models.model_groups,
        "allowed_model_aliases": models.allowed,
        "allowed_models": models.allowed,
        "default_model": models.default_model,
        "virtual_key": None,
        "virtual_key_prefix": facts.key_prefix,
        "metadata": found.metadata,
        "created_at": iso(found.created_at),
        "updated_at": iso(found.updated_at),
    }
    if to_operator:
        body["status_reason"] = found.status_reason or None
        body["organization_status"] = found.organization.status
    return body


def team_credits(found: Team, balance: Balance, plan: Plan, refill: Refill, *, to_operator: bool) -> dict[str, Any]:
    """A team's credit account."""
    return {
        "team_id": found.team_id,
        "organization_id": found.organization.organization_id,
        **balance.as_wire(),
        "credit_limit": whole_credits(balance.credit_line_micros) or None,
        **auto_refill(refill),
        "budget_mode": plan.budget_mode,
        "credits_per_dollar": plan.credits_per_dollar,
        "tokens_per_credit": plan.tokens_per_credit,
        "cost_markup_percentage": _markup(plan, to_operator=to_operator),
        "status": _status(found, to_operator=to_operator),
        "created_at": iso(found.created_at),
        "updated_at": iso(found.updated_at),
    }


def auto_refill(refill: Refill) -> dict[str, Any]:
    """A team's allowance, in the fields of its account."""
    return {
        "auto_refill": refill.is_enabled,
        "refill_amount": None if refill.amount_micros is None else whole_credits(refill.amount_micros),
        "refill_period": refill.period,
        "refill_rolls_over": refill.rolls_over,
        "next_refill_at": iso(refill.next_at),
        "last_refill_at": iso(refill.last_refill_at),
    }


def _status(found: Team, *, to_operator: bool) -> str:
    if to_operator or found.status != Team.Status.ACTIVE:
        return found.status
    return found.organization.status


def _markup(plan: Plan, *, to_operator: bool) -> float | None:
    """Hidden from keys: with client costs it would tell what the provider takes."""
    return plan.cost_markup_percentage if to_operator else None


def transaction(found: Team, posting: Posting) -> dict[str, Any]:
    """A ledger entry of a team: a positive amount, its direction told by what was posted before and after."""
    return account_transaction(posting, team_id=found.team_id, organization_id=found.organization.organization_id)


def account_transaction(posting: Posting, *, team_id: str | None, organization_id: str) -> dict[str, Any]:
    """A ledger entry of a wallet, or of an organization's pool, which is no team's."""
    entry = posting.entry
    return {
        "transaction_id": str(entry.pk),
        "team_id": team_id,
        "organization_id": organization_id,
        "job_id": entry.job or None,
        "transaction_type": transaction_type(entry),
        "credits_amount": whole_credits(entry.amount_micros),
        "credits_before": whole_credits(posting.before_micros),
        "credits_after": whole_credits(posting.after_micros),
        "credits_amount_exact": exact_credits(entry.amount_micros),
        "credits_before_exact": exact_credits(posting.before_micros),
        "credits_after_exact": exact_credits(posting.after_micros),
        "reason": entry.reason or None,
        "created_at": iso(entry.created_at),
    }


def key(found: VirtualKey, team_id: str) -> dict[str, Any]:
    """A virtual key without its secret, which is kept nowhere."""
    return {
        "key_id": str(found.pk),
        "team_id": team_id,
        "name": found.name or None,
        "prefix": found.prefix,
        "status": _key_status(found),
        "scopes": found.scopes,
        "models_allowed": found.models_allowed,
        "addresses_allowed": found.addresses_allowed,
        "expires_at": iso(found.expires_at),
        "revoked_at": iso(found.revoked_at),
        "replaced_by": str(found.replaced_by_id) if found.replaced_by_id else None,
        "last_used_at": iso(found.last_used_at),
        "created_at": iso(found.created_at),
        "created_by": found.created_by or None,
    }


def _key_status(found: VirtualKey) -> str:
    if found.revoked_at is not None:
        return "revoked"
    return "expired" if found.expires_at is not None and found.expires_at <= now() else "active"


def _timestamp(instant: datetime) -> int:
    return int(instant.astimezone(UTC).timestamp())
