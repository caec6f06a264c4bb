"""Figures for operators' dashboards: the platform, an organization's jobs, its spending and who served it.

Spending is the client's cost in USD; what providers took stands beside it.
"""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.analytics import overview, usage
from apps.analytics.instant import one_instant
from apps.analytics.overview import Credits
from apps.analytics.usage import Jobs, Usage
from apps.api.authentication import OperatorView
from apps.api.dates import dates_of
from apps.api.listing import page
from apps.core.money import exact_credits, usd, whole_credits
from apps.credits.models import Account
from apps.jobs.models import Job
from apps.organizations import services as organizations
from apps.organizations.models import Organization
from apps.organizations.rights import Right
from apps.teams import services as teams

_TOP = 10


class Dashboard(OperatorView):
    """GET /api/stats/dashboard"""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        found = overview.overview()
        return Response(
            {
                "organizations": found.organizations,
                "teams": found.teams,
                "modelGroups": found.model_groups,
                "totalCredits": whole_credits(found.credits.allocated_micros),
                "creditsRemaining": whole_credits(found.credits.remaining_micros),
                "creditsUsed": whole_credits(found.credits.used_micros),
            }
        )


class CreditUtilization(OperatorView):
    """GET /api/credits/utilization: how much teams have left, and those that need attention, emptiest first."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        limit, _ = page(request, default=100)
        found = overview.utilization(at_most=limit)
        return Response(
            {
                "total_teams": found.teams,
                "summary": _summed(found.credits),
                "by_status": {"healthy": found.healthy, "warning": found.warning, "critical": found.critical},
                "teams_needing_attention": [_attention(wallet) for wallet in found.needing_attention],
            }
        )


class OrganizationStats(OperatorView):
    """GET /api/jobs/organizations/{organization_id}/stats?start_date&end_date"""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, organization_id: str) -> Response:
        organization, jobs = _asked(request, organization_id)
        by_team = usage.grouped(jobs, "team")
        total = usage.total(by_team)
        top = sorted(by_team.items(), key=lambda item: (-item[1].jobs, item[0]))[:_TOP]
        return Response(
            {
                "organization_id": organization.organization_id,
                "organization_name": organization.name,
                "total_jobs": total.jobs,
                "completed_jobs": total.completed,
                "failed_jobs": total.failed,
                "cancelled_jobs": total.cancelled,
                "in_progress_jobs": total.in_progress,
                "pending_jobs": total.pending,
                "total_teams": teams.count(organization),
                "total_llm_calls": total.calls,
                "successful_calls": total.successful_calls,
                "failed_calls": total.failed_calls,
                "total_tokens": total.tokens,
                "total_cost_usd": usd(total.client_cost_nanousd),
                "provider_cost_usd": usd(total.provider_cost_nanousd),
                "lost_cost_usd": usd(total.lost_cost_nanousd),
                "total_credits_used": whole_credits(total.charged_micros),
                "total_credits_used_exact": exact_credits(total.charged_micros),
                "top_teams": [
                    {
                        "team_id": team_id,
                        "job_count": line.jobs,
                        "credits_used": whole_credits(line.charged_micros),
                    }
                    for team_id, line in top
                ],
            }
        )


class OrganizationAnalytics(OperatorView):
    """GET /api/jobs/organizations/{organization_id}/analytics?start_date&end_date"""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, organization_id: str) -> Response:
        organization, jobs = _asked(request, organization_id)
        with one_instant():
            by_day, by_team = usage.grouped(jobs, "day"), usage.grouped(jobs, "team")
            by_model, by_provider = usage.by_model(jobs), usage.by_provider(jobs)
        total = usage.total(by_day)
        # Jobs without a call have no model.
        by_model.pop("", None)
        return Response(
            {
                "organization_id": organization.organization_id,
                "organization_name": organization.name,
                "total_spend": usd(total.client_cost_nanousd),
                "provider_cost_usd": usd(total.provider_cost_nanousd),
                "total_requests": total.calls,
                "successful_requests": total.successful_calls,
                "failed_requests": total.failed_calls,
                "total_tokens": total.tokens,
                "daily_spend": [
                    {"date": day, "spend": usd(line.client_cost_nanousd), "count": line.calls}
                    for day, line in by_day.items()
                ],
                "spend_per_team": [{"team_id": name} | _spent(line) for name, line in _most(by_team)[:_TOP]],
                "top_models": [
                    {"model": name, "spend": usd(line.client_cost_nanousd), "count": line.calls}
                    for name, line in _most(by_model)[:_TOP]
                ],
                "provider_usage": [{"provider": name} | _spent(line) for name, line in _most(by_provider)],
            }
        )


def _asked(request: Request, organization_id: str) -> tuple[Organization, Jobs]:
    since, until = dates_of(request)
    organization = organizations.find(organization_id)
    return organization, usage.between(Job.objects.for_organization(organization), since, until)


def _most(lines: dict[str, Usage]) -> list[tuple[str, Usage]]:
    """What was spent most on first."""
    return sorted(lines.items(), key=lambda item: (-item[1].client_cost_ppm, -item[1].calls, item[0]))


def _spent(line: Usage) -> dict[str, Any]:
    return {
        "spend": usd(line.client_cost_nanousd),
        "successful": line.successful_calls,
        "failed": line.failed_calls,
        "tokens": line.tokens,
        "provider_cost_usd": usd(line.provider_cost_nanousd),
    }


def _summed(credits: Credits) -> dict[str, Any]:
    return {
        "total_allocated": whole_credits(credits.allocated_micros),
        "total_remaining": whole_credits(credits.remaining_micros),
        "total_used": whole_credits(credits.used_micros),
        "avg_utilization": _percent(credits.used_micros, credits.allocated_micros),
    }


def _attention(wallet: Account) -> dict[str, Any]:
    left = wallet.posted_micros - wallet.held_micros
    assert wallet.team is not None, "a wallet is a team's"
    return {
        "team_id": wallet.team.team_id,
        "credits_remaining": whole_credits(left),
        "percentage": _percent(left, wallet.allocated_micros),
        "status": "critical" if left * 5 < wallet.allocated_micros else "warning",
    }


def _percent(part: int, whole: int) -> float:
    """To two decimals, rounded down."""
    return (part * 10_000 // whole) / 100 if whole else 0.0
