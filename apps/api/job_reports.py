"""A team's jobs as operators look at them: paged, filtered, with every call's costs, prices and texts."""

from typing import Any

import orjson
from rest_framework.request import Request
from rest_framework.response import Response

from apps.analytics import job_lists
from apps.analytics.job_lists import Wanted
from apps.api.authentication import OperatorView
from apps.api.dates import dates_of
from apps.api.fields import query_error, query_text
from apps.api.listing import page
from apps.core.clock import iso
from apps.core.errors import InvalidRequest
from apps.core.money import exact_credits, usd
from apps.jobs import receipt_wire, services
from apps.jobs.models import Call, Job
from apps.organizations.rights import Right
from apps.teams import services as teams

_STATUSES = {"pending": ["pending"], "in_progress": ["in_progress", "paused"]} | {
    status: [status] for status in ("completed", "failed", "cancelled")
}
_MAX_PAGES = 1_000_000


class TeamJobList(OperatorView):
    """GET /api/jobs/teams/{team_id}: a page of them, newest first, with their true number."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, team_id: str) -> Response:
        number = _whole(request, "page", default=1, most=_MAX_PAGES)
        size = _whole(request, "page_size", default=20, most=100)
        wanted = _wanted(request)
        jobs = job_lists.of_team(teams.find(team_id), wanted)
        total = jobs.count()
        found = list(jobs[(number - 1) * size : number * size])
        retries = job_lists.retries(found)
        return Response(
            {
                "jobs": [_summary(job, retries[job.pk]) for job in found],
                "total": total,
                "page": number,
                "page_size": size,
                "total_pages": -(-total // size),
            }
        )


class TeamJob(OperatorView):
    """GET /api/jobs/teams/{team_id}/{job_id}: a job with a page of its calls, 100 unless `limit` says otherwise.

    Their texts are shown to those who may see content, null to others.
    """

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, team_id: str, job_id: str) -> Response:
        limit, offset = page(request, default=100)
        job = services.find_job(teams.find(team_id), job_id)
        with_texts = self.caller.as_operator.holds(Right.CONTENT_VIEW)
        calls = job_lists.calls_of(job, limit=limit, offset=offset)
        return Response(
            {
                "job": _summary(job, job_lists.retries([job])[job.pk]),
                "calls": [_call(job, call, with_texts=with_texts) for call in calls],
            }
        )


def _wanted(request: Request) -> Wanted:
    status = request.GET.get("status", "")
    if status and status.lower() not in _STATUSES:
        raise InvalidRequest(
            f"Invalid status: {status[:100]}. Must be one of: pending, in_progress, completed, failed"
        )
    since, until = dates_of(request)
    return Wanted(
        statuses=_STATUSES[status.lower()] if status else (),
        job_type=query_text(request, "job_type"),
        since=since,
        until=until,
        id_part=query_text(request, "job_id_filter"),
    )


def _whole(request: Request, name: str, *, default: int, most: int) -> int:
    text = request.GET.get(name, str(default))
    if not (text.isdecimal() and text.isascii() and len(text) <= 9 and 1 <= int(text) <= most):
        raise query_error(name, f"Must be a whole number from 1 to {most}", kind="int_parsing", value=text)
    return int(text)


def _summary(job: Job, retries: int) -> dict[str, Any]:
    return {
        "job_id": str(job.pk),
        "team_id": job.team.team_id,
        "user_id": job.user_id or None,
        "job_type": job.job_type,
        "status": job.wire_status,
        "created_at": iso(job.created_at),
        "completed_at": iso(job.completed_at),
        "total_calls": job.total_calls,
        "successful_calls": job.successful_calls,
        "failed_calls": job.failed_calls,
        "retry_count": retries,
        "total_tokens": job.total_tokens,
        "total_cost_usd": receipt_wire.client_cost_usd(job, job.provider_cost_nanousd, places=6),
        "provider_cost_usd": usd(job.provider_cost_nanousd),
        "lost_cost_usd": usd(job.lost_cost_nanousd),
        "avg_latency_ms": job.latency_total_ms // job.successful_calls if job.successful_calls else 0,
        "credit_applied": job.credit_applied,
        "credits_charged": exact_credits(job.charged_micros),
        "job_metadata": job.metadata,
    }


def _call(job: Job, call: Call, *, with_texts: bool) -> dict[str, Any]:
    payload = getattr(call, "payload", None) if with_texts else None
    return {
        "call_id": str(call.pk),
        "status": call.state,
        "model_used": call.model_used,
        "model_group_used": call.model_group_used,
        "resolved_model": call.resolved_model or call.provider_model,
        "provider": call.provider or call.route,
        "purpose": call.purpose or None,
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
        "total_tokens": call.total_tokens,
        "cost_usd": usd(call.provider_cost_nanousd, places=8),
        "input_cost_usd": _cost(call.prompt_tokens, call.input_nanousd_per_mtok),
        "output_cost_usd": _cost(call.completion_tokens, call.output_nanousd_per_mtok),
        "provider_cost_usd": usd(call.provider_cost_nanousd, places=8),
        "client_cost_usd": receipt_wire.client_cost_usd(job, call.provider_cost_nanousd, places=8),
        "model_pricing_input": _price(call.input_nanousd_per_mtok),
        "model_pricing_output": _price(call.output_nanousd_per_mtok),
        "latency_ms": call.latency_ms,
        "created_at": iso(call.created_at),
        "error": call.error_message or None,
        "request_data": _stored(payload.request if payload else ""),
        "response_data": _stored(payload.response if payload else ""),
    }


def _cost(tokens: int, nanousd_per_mtok: int | None) -> float | None:
    """Dollars for tokens by the price frozen on their call; None when it has none."""
    return None if nanousd_per_mtok is None else usd(-(-tokens * nanousd_per_mtok // 1_000_000), places=8)


def _price(nanousd_per_mtok: int | None) -> float | None:
    return None if nanousd_per_mtok is None else usd(nanousd_per_mtok, places=9)


def _stored(text: str) -> Any:
    return orjson.loads(text) if text else None
