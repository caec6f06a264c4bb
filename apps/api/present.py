"""Rows as the wire shows them. To a key: names it asked for and client costs, never provider models or costs."""

from datetime import UTC, datetime
from typing import Any

import orjson

from apps.core.clock import iso
from apps.core.money import exact_credits, usd
from apps.credits import pricing
from apps.credits.billing import Balance
from apps.jobs.models import Call, Job


def client_cost_usd(job: Job, provider_nanousd: int, *, places: int, show_costs: bool = True) -> float | None:
    """A provider cost with the job's markup, in dollars; None when the team does not see costs."""
    if not show_costs:
        return None
    markup_ppm = (job.terms or {}).get("markup_ppm", 0)
    return usd(pricing.client_cost_nanousd(provider_nanousd, markup_ppm=markup_ppm), places=places)


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
    }


def answer(call: Call) -> dict[str, Any]:
    """A succeeded call: the short form (`response`, `metadata`) and an OpenAI completion, beside each other.

    When its payload is past retention, the metadata stands with `content_expired`.
    """
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
        "id": stored.get("id") or f"chatcmpl-{call.pk.hex}",
        "object": "chat.completion",
        "created": stored.get("created") or _timestamp(call.created_at),
        "model": call.model_group_used,
        "choices": choices,
        "usage": {
            "prompt_tokens": call.prompt_tokens,
            "completion_tokens": call.completion_tokens,
            "total_tokens": call.total_tokens,
        },
    }
    if not stored:
        body["content_expired"] = True
    return body


def _timestamp(instant: datetime) -> int:
    return int(instant.astimezone(UTC).timestamp())
