"""Figures for operators' dashboards."""

from apps.openapi import parameters
from apps.openapi.answers.stats import CreditUtilization, Dashboard, OrganizationAnalytics, OrganizationStats
from apps.openapi.operation import Operation

TAG = "Dashboards"

OPERATIONS = {
    "GET /api/jobs/organizations/{organization_id}/stats": Operation(
        "Show an organization's jobs in figures", answer=OrganizationStats, query=(*parameters.DATES,), errors=(400,)
    ),
    "GET /api/jobs/organizations/{organization_id}/analytics": Operation(
        "Show an organization's spend by day, team, model and provider",
        answer=OrganizationAnalytics,
        query=(*parameters.DATES,),
        errors=(400,),
    ),
    "GET /api/stats/dashboard": Operation("Show the platform in figures", answer=Dashboard),
    "GET /api/credits/utilization": Operation(
        "Show how much teams have left", answer=CreditUtilization, query=(parameters.page(100)[0],)
    ),
}
