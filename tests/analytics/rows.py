"""Jobs and calls as if they had been made: what reports are about, at instants of the test's choice."""

from datetime import UTC, datetime, timedelta
from typing import Any

from apps.jobs.models import Call, Job
from tests import make

MICROS = 1_000_000


def instant(text: str) -> datetime:
    """An instant of March 2026, as `day` or `day hour:minute`."""
    day, _, time = text.partition(" ")
    return datetime.fromisoformat(f"2026-03-{int(day):02}T{time or '12:00'}:00+00:00")


def job(customer: make.Customer, at: str = "15", calls: tuple[dict[str, Any], ...] = (), **fields: Any) -> Job:
    """A job with these calls, its totals theirs. `credits` is what it was charged, `markup` in percent."""
    credits, markup = fields.pop("credits", 0), fields.pop("markup", 0)
    status = fields.pop("status", "completed")
    created_at = instant(at)
    is_closed = status in ("completed", "failed", "cancelled")
    names = list(dict.fromkeys(each.get("model", "chat") for each in calls))
    made = Job.objects.create(
        team=customer.team,
        organization=customer.organization,
        job_type=fields.pop("job_type", "query"),
        status=status,
        completed_at=created_at + timedelta(minutes=1) if is_closed else None,
        charge_state="charged" if credits else ("free" if is_closed else "none"),
        charged_micros=credits * MICROS,
        terms={"markup_ppm": markup * 10_000} if calls else None,
        model_groups_used=names,
        created_at=created_at,
        active_at=created_at,
        **fields,
    )
    for each in calls:
        call(made, **each)
    made.save()
    return made


def call(made: Job, **fields: Any) -> Call:
    """A call of a job, counted on it (unsaved). `cost` in nano-dollars."""
    state = fields.pop("state", "succeeded")
    model, tokens = fields.pop("model", "chat"), fields.pop("tokens", (10, 5))
    cost, latency = fields.pop("cost", 0), fields.pop("latency_ms", 100)
    succeeded, is_open = state == "succeeded", state in Call.OPEN_STATES
    made.total_calls += 1
    made.open_calls += is_open
    made.successful_calls += succeeded
    made.failed_calls += not (succeeded or is_open)
    if succeeded:
        made.prompt_tokens += tokens[0]
        made.completion_tokens += tokens[1]
        made.provider_cost_nanousd += cost
        made.latency_total_ms += latency
    return Call.objects.create(
        job=made,
        organization_id=made.organization_id,
        team_id=made.team_id,
        state=state,
        model_group_used=model,
        model_used=fields.pop("alias", model),
        route=fields.pop("route", "litellm"),
        provider=fields.pop("provider", ""),
        provider_model=fields.pop("provider_model", f"openai/secret-{model}"),
        prompt_tokens=tokens[0] if succeeded else 0,
        completion_tokens=tokens[1] if succeeded else 0,
        provider_cost_nanousd=cost if succeeded else 0,
        latency_ms=latency if succeeded else None,
        created_at=made.created_at,
        ended_at=None if is_open else made.created_at,
        deadline_at=made.created_at + timedelta(hours=1),
        wait_until=made.created_at,
        next_publish_at=made.created_at,
        fingerprint="x",
        **fields,
    )


def now() -> datetime:
    return datetime.now(UTC)
