"""Usage of a team and of an organization in a month or on a day, in UTC, by when the jobs were created."""

from datetime import timedelta
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.analytics import usage
from apps.analytics.instant import one_instant
from apps.analytics.usage import Usage
from apps.api.authentication import EitherView, OperatorView
from apps.api.dates import dates_of, period_of
from apps.api.display import display
from apps.api.fields import query_choice
from apps.api.listing import page
from apps.core.clock import now
from apps.core.money import exact_credits, usd, whole_credits
from apps.credits import billing
from apps.jobs.models import Job
from apps.organizations import services as organizations
from apps.organizations.rights import Right

GROUPS = ("user", "model", "job_type", "key", "day")


class TeamUsage(EitherView):
    """GET /api/teams/{team_id}/usage?period=YYYY-MM or YYYY-MM-DD, broken down once more by `group_by`."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, team_id: str) -> Response:
        period, since, until = period_of(request)
        group_by = query_choice(request, "group_by", GROUPS)
        limit, offset = page(request, default=100)
        team = self.team(team_id, refusal="Cannot access usage data for a different team")
        jobs = usage.between(Job.objects.for_team(team), since, until)
        with one_instant():
            by_type = usage.grouped(jobs, "job_type")
            others = usage.grouped(jobs, group_by) if group_by not in (None, "job_type") else None
        show_costs = self.caller.is_operator or billing.shows_costs(team)
        lines = {name: _line(each, show_costs=show_costs) for name, each in by_type.items()}
        total, shown = usage.total(by_type), {}
        if show_costs:
            # A past period keeps the rate that it ended with.
            ended_at = until - timedelta(microseconds=1) if until <= now() else None
            shown = display(team.organization, nanousd=total.client_cost_nanousd, at=ended_at, places=2)
        body = {
            "team_id": team_id,
            "period": period,
            "summary": _summary(total, show_costs=show_costs) | shown,
            "job_types": lines,
            "by_job_type": lines,
        }
        if group_by is not None and others is not None:
            body |= _breakdown(others, group_by, limit, offset, show_costs=show_costs)
        return Response(body)


class OrganizationUsage(OperatorView):
    """GET /api/organizations/{organization_id}/usage?period=YYYY-MM"""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, organization_id: str) -> Response:
        period, since, until = period_of(request)
        organization = organizations.find(organization_id)
        jobs = usage.between(Job.objects.for_organization(organization), since, until)
        with one_instant():
            by_team, by_type = usage.grouped(jobs, "team"), usage.grouped(jobs, "job_type")
        teams = {team_id: _line(line, show_costs=True) | {"jobs": line.jobs} for team_id, line in by_team.items()}
        summary = _summary(usage.total(by_team), show_costs=True)
        return Response(
            {
                "organization_id": organization_id,
                "period": period,
                "summary": summary | {"completed_jobs": summary["successful_jobs"]},
                "teams": teams,
                "by_team": teams,
                "by_job_type": {name: _line(line, show_costs=True) for name, line in by_type.items()},
            }
        )


class OrganizationCosts(OperatorView):
    """GET /api/organizations/{organization_id}/costs?start_date&end_date: what its jobs cost, to it and to us."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, organization_id: str) -> Response:
        since, until = dates_of(request)
        organization = organizations.find(organization_id)
        jobs = usage.between(Job.objects.for_organization(organization), since, until)
        with one_instant():
            groups = {by: usage.grouped(jobs, by) for by in ("team", "job_type", "model", "day")}
        return Response(
            {
                "organization_id": organization_id,
                "start_date": request.GET.get("start_date") or None,
                "end_date": request.GET.get("end_date") or None,
                **_costs(usage.total(groups["team"])),
                **{f"by_{by}": {name: _costs(line) for name, line in lines.items()} for by, lines in groups.items()},
            }
        )


def _summary(total: Usage, *, show_costs: bool) -> dict[str, Any]:
    average = total.client_cost_nanousd // total.jobs if total.jobs else 0
    return {
        "total_jobs": total.jobs,
        "successful_jobs": total.completed,
        "failed_jobs": total.failed,
        "total_cost_usd": usd(total.client_cost_nanousd, places=2) if show_costs else None,
        "total_tokens": total.tokens,
        "avg_cost_per_job": usd(average, places=4) if show_costs else None,
        "credits_used": whole_credits(total.charged_micros),
        "credits_used_exact": exact_credits(total.charged_micros),
    }


def _line(line: Usage, *, show_costs: bool) -> dict[str, Any]:
    return {
        "count": line.jobs,
        "cost_usd": usd(line.client_cost_nanousd, places=6) if show_costs else None,
        "tokens": line.tokens,
        "credits_used": whole_credits(line.charged_micros),
        "credits_used_exact": exact_credits(line.charged_micros),
    }


def _breakdown(
    lines: dict[str, Usage], by: str, limit: int, offset: int, *, show_costs: bool
) -> dict[str, dict[str, Any]]:
    """A page of the groups, what was charged most first, and what all the others come to. Days go by themselves."""
    ranked = sorted(lines, key=lambda name: (-lines[name].charged_micros, -lines[name].calls, name))
    names = (sorted(lines) if by == "day" else ranked)[offset : offset + limit]
    others = Usage()
    for name in lines.keys() - set(names):
        others.add(lines[name])
    return {
        f"by_{by}": {name: _detailed(lines[name], show_costs=show_costs) for name in names},
        "others": _detailed(others, show_costs=show_costs) | {"groups": len(lines) - len(names)},
    }


def _detailed(line: Usage, *, show_costs: bool) -> dict[str, Any]:
    return _line(line, show_costs=show_costs) | {
        "calls": line.calls,
        "successful_calls": line.successful_calls,
        "failed_calls": line.failed_calls,
    }


def _costs(line: Usage) -> dict[str, Any]:
    return {
        "jobs": line.jobs,
        "total_cost_usd": usd(line.client_cost_nanousd, places=6),
        "provider_cost_usd": usd(line.provider_cost_nanousd, places=6),
        "lost_cost_usd": usd(line.lost_cost_nanousd, places=6),
        "total_tokens": line.tokens,
        "credits_used": whole_credits(line.charged_micros),
        "credits_used_exact": exact_credits(line.charged_micros),
    }
