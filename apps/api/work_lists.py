"""Jobs and calls of all teams, for operators; a key has its own team's jobs."""

from collections.abc import Sequence
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.analytics import job_lists
from apps.analytics.job_lists import Wanted
from apps.api import present
from apps.api.authentication import EitherView, OperatorView, WrongTeam
from apps.api.dates import dates_of
from apps.api.fields import query_choice, query_flag, query_text
from apps.api.jobs import wanted_statuses
from apps.api.ledger_lists import owners, span
from apps.api.listing import long_listed, require_page
from apps.core.clock import iso
from apps.core.money import usd
from apps.jobs.models import Call
from apps.organizations.rights import Right

_JOB_ORDERS = {"completed_at": "completed_at", "credits_charged": "charged_micros", "total_calls": "total_calls"}
_CALL_ORDERS = {"latency_ms": "latency_ms", "cost_usd": "provider_cost_nanousd"}


class JobList(EitherView):
    """GET /api/jobs: narrowed by `status`, `job_type`, `user_id`, `charged`, `from` and `to` (or the days
    `start_date` and `end_date`); for operators by `team_id` and `organization_id`. A key has its own team's."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        require_page(request)
        principal = self.caller.principal
        if principal is None:
            team, organization = owners(request)
        else:
            team, organization = principal.team, None
            if request.GET.get("team_id", team.team_id) != team.team_id:
                raise WrongTeam("Cannot access jobs for a different team")
        since, until = span(request)
        first_day, day_after = dates_of(request)
        wanted = Wanted(
            statuses=wanted_statuses(request),
            job_type=query_text(request, "job_type"),
            user_id=query_text(request, "user_id"),
            is_charged=query_flag(request, "charged"),
            since=since or first_day,
            until=until or day_after,
        )
        found = job_lists.matching(wanted, team=team, organization=organization)
        return long_listed(
            request, found, name="jobs", show=lambda rows: [present.job(each) for each in rows], orders=_JOB_ORDERS
        )


class CallList(OperatorView):
    """GET /api/calls: without what was asked and answered; narrowed by `team_id`, `organization_id`, `job_id`,
    `status`, `model`, `provider`, `error_code`, `from` and `to`."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        require_page(request)
        team, organization = owners(request)
        since, until = span(request)
        found = job_lists.calls(
            team=team,
            organization=organization,
            job_id=query_text(request, "job_id"),
            state=query_choice(request, "status", Call.State.values),
            model=query_text(request, "model"),
            provider=query_text(request, "provider"),
            error_code=query_text(request, "error_code"),
            since=since,
            until=until,
        )
        return long_listed(request, found, name="calls", show=_calls, orders=_CALL_ORDERS)


def _calls(rows: Sequence[Call]) -> list[dict[str, Any]]:
    return [
        present.call_line(each)
        | {
            "job_id": str(each.job_id),
            "team_id": each.team.team_id,
            "organization_id": each.organization.organization_id,
            "model_used": each.model_used,
            "provider": each.provider or None,
            "provider_model": each.provider_model,
            "prompt_tokens": each.prompt_tokens,
            "completion_tokens": each.completion_tokens,
            "provider_cost_usd": usd(each.provider_cost_nanousd, places=9),
            "error_code": each.error_code or None,
            "started_at": iso(each.started_at),
            "ended_at": iso(each.ended_at),
        }
        for each in rows
    ]
