"""A receipt as JSON: the API's answer and the console's file. To a key without what providers take."""

from typing import Any

import orjson

from apps.core.clock import iso
from apps.core.money import PPM, exact_credits, usd
from apps.credits import pricing
from apps.credits.models import Entry, GrantUse, Hold, RateCardVersion
from apps.credits.pricing import Mode, Terms
from apps.jobs import escrow, receipts
from apps.jobs.models import Attempt, Call, Job
from apps.jobs.receipts import Receipt
from apps.jobs.streaming.chunks import usage

# Kinds of entries as the wire calls them.
TRANSACTION_TYPES = {
    "grant": "allocation",
    "allocate": "allocation",
    "reclaim": "adjustment",
    "charge": "deduction",
    "refund": "refund",
    "take_back": "adjustment",
    "expire": "adjustment",
    "adjust": "adjustment",
}


def client_cost_usd(job: Job, provider_nanousd: int, *, places: int, show_costs: bool = True) -> float | None:
    """A provider cost with the job's markup, in dollars; None when the team does not see costs."""
    if not show_costs:
        return None
    markup_ppm = (job.terms or {}).get("markup_ppm", 0)
    return usd(pricing.client_cost_nanousd(provider_nanousd, markup_ppm=markup_ppm), places=places)


def as_wire(found: Receipt, *, to_operator: bool, show_costs: bool) -> dict[str, Any]:
    """What the receipt says, to an operator or to the team. Amounts of credits are exact text."""
    job = found.job
    body = {
        "job_id": str(job.pk),
        "team_id": job.team.team_id,
        "organization_id": job.organization.organization_id,
        "user_id": job.user_id or None,
        "job_type": job.job_type,
        "created_at": iso(job.created_at),
        "started_at": iso(job.started_at),
        "verdict": _verdict(job),
        "pricing": _pricing(found, to_operator=to_operator, show_costs=show_costs),
        "escrow": escrow.as_wire(job),
        "calls": [
            _call(call, found.attempts.get(call.pk, []), job, to_operator=to_operator, show_costs=show_costs)
            for call in found.calls
        ],
        "holds": [_hold(hold) for hold in found.holds],
        "entries": [_entry(entry, found.uses.get(entry.pk, []), to_operator=to_operator) for entry in found.entries],
        "total_tokens": job.total_tokens,
        "total_cost_usd": client_cost_usd(job, job.provider_cost_nanousd, places=6, show_costs=show_costs),
        "credits_charged": exact_credits(job.charged_micros),
        "credits_refunded": exact_credits(found.refunded_micros),
        "credits_net": exact_credits(found.net_micros),
        "credits_uncollected": exact_credits(job.uncollected_micros),
        "arithmetic": [
            {"credits": exact_credits(line.micros), "why": line.why}
            for line in receipts.arithmetic(found, show_costs=show_costs)
        ],
        "explanation": receipts.explanation(found, show_costs=show_costs),
    }
    if to_operator:
        body["provider_cost_usd"] = usd(job.provider_cost_nanousd, places=9)
        body["lost_cost_usd"] = usd(job.lost_cost_nanousd, places=9)
    return body


def _verdict(job: Job) -> dict[str, Any]:
    return {
        "status": job.wire_status,
        "closed_by": job.closed_by or None,
        "completed_at": iso(job.completed_at),
        "error_message": job.error_message or None,
        "charge": job.charge_state,
        "successful_calls": job.successful_calls,
        "failed_calls": job.failed_calls,
    }


def _pricing(found: Receipt, *, to_operator: bool, show_costs: bool) -> dict[str, Any] | None:
    """The terms that are frozen on the job, as far as its mode has use for them; null before they are."""
    terms, version = found.terms, found.version
    if terms is None:
        return None
    body: dict[str, Any] = {
        "card": _card(version),
        "version": version.number if version else None,
        "version_id": str(version.pk) if version else None,
        "effective_from": iso(version.effective_from) if version else None,
        "mode": terms.mode,
    }
    is_hybrid = terms.mode == Mode.HYBRID
    if terms.is_metered:
        body["rounding"] = terms.rounding
        if not is_hybrid:
            body["minimum_credits"] = exact_credits(terms.minimum_micros)
        if terms.ceiling_micros is not None:
            body["ceiling_credits"] = exact_credits(terms.ceiling_micros)
    if is_hybrid or not terms.is_metered:
        body["price_credits"] = exact_credits(terms.price_micros)
    if terms.mode == Mode.METERED_USD or (terms.allowance_nanousd is not None and show_costs):
        body["credits_per_dollar"] = exact_credits(terms.micros_per_usd)
    if terms.mode == Mode.METERED_TOKENS or terms.allowance_tokens is not None:
        body["tokens_per_credit"] = terms.tokens_per_credit
    if terms.allowance_tokens is not None:
        body["allowance_tokens"] = terms.allowance_tokens
    body |= _policies(terms)
    if to_operator:
        body["markup_percentage"] = terms.markup_ppm * 100 / PPM
        body["allowance_usd"] = _usd(terms.allowance_nanousd)
        body["cost_cap_usd"] = _usd(terms.cost_cap_nanousd)
    return body


def _policies(terms: Terms) -> dict[str, Any]:
    """Those of its policies that are not as by default."""
    names = ("included_tries", "on_failed", "on_cancelled", "on_partly_failed", "on_abandoned", "policy_percent")
    return {name: terms.frozen()[name] for name in names if name in terms.frozen()}


def _usd(nanousd: int | None) -> float | None:
    return None if nanousd is None else usd(nanousd, places=9)


def _card(version: RateCardVersion | None) -> dict[str, Any]:
    """Whose card it is, and for which job types; the platform's default is none that anybody made."""
    if version is None:
        return {"of": "default", "job_type": None}
    card = version.card
    of = "team" if card.team_id else "organization" if card.organization_id else "platform"
    return {"of": of, "job_type": card.job_type or None}


def _call(call: Call, attempts: list[Attempt], job: Job, *, to_operator: bool, show_costs: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "call_id": str(call.pk),
        "purpose": call.purpose or None,
        "model": call.model_group_used,
        "status": call.state,
        "usage": usage(call),
        # Of what is more than plain input and output.
        "usage_classes": call.usage_classes,
        "is_estimated": call.is_estimated,
        "attempts": len(attempts),
        "cost_usd": client_cost_usd(job, call.provider_cost_nanousd, places=8, show_costs=show_costs),
        "latency_ms": call.latency_ms,
        "error": call.error_message or None,
        "error_code": call.error_code or None,
        "created_at": iso(call.created_at),
        "ended_at": iso(call.ended_at),
    }
    if to_operator:
        body["provider_cost_usd"] = usd(call.provider_cost_nanousd, places=9)
        body["price_source"] = call.price_source
        body["price_id"] = str(call.price_id) if call.price_id else None
        body["usage_mismatch"] = call.usage_mismatch
        body["tries"] = [_try(attempt) for attempt in attempts]
    return body


def _try(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt_id": str(attempt.pk),
        "claim": attempt.claim,
        "status": attempt.state,
        "route": attempt.route,
        "provider_model": attempt.provider_model,
        "prompt_tokens": attempt.prompt_tokens,
        "completion_tokens": attempt.completion_tokens,
        "is_estimated": attempt.is_estimated,
        "raw_usage": _raw(attempt.raw_usage),
        "cost_usd": usd(attempt.cost_nanousd, places=9),
        "latency_ms": attempt.latency_ms,
        "error_code": attempt.error_code or None,
        "started_at": iso(attempt.started_at),
        "ended_at": iso(attempt.ended_at),
    }


def _raw(text: str) -> Any:
    """A provider's usage as it sent it, as JSON if it is any."""
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return text


def _hold(hold: Hold) -> dict[str, Any]:
    return {
        "hold_id": str(hold.pk),
        "status": hold.state,
        "credits": exact_credits(hold.amount_micros),
        "opened_at": iso(hold.opened_at),
        "closed_at": iso(hold.closed_at),
    }


def _entry(entry: Entry, uses: list[GrantUse], *, to_operator: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "transaction_id": str(entry.pk),
        "transaction_type": TRANSACTION_TYPES[entry.kind],
        "credits": exact_credits(entry.amount_micros),
        "reason": entry.reason or None,
        "reverses": str(entry.reverses_id) if entry.reverses_id else None,
        "created_at": iso(entry.created_at),
        # Negative where an entry gave it back.
        "grants": [
            {
                "grant_id": str(use.grant_id),
                "kind": use.grant.kind,
                "credits": exact_credits(use.amount_micros),
                "expires_at": iso(use.grant.expires_at),
            }
            for use in uses
        ],
    }
    return body | {"actor": entry.actor} if to_operator else body
