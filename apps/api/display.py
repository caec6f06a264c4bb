"""Costs in the currency of an organization that has another than dollars, beside the dollars and with their rate.

For all others there is nothing to add, and nothing is asked of the database.
"""

from datetime import datetime
from typing import Any

from apps.api import present
from apps.core.clock import iso
from apps.core.money import usd
from apps.jobs.models import Job
from apps.organizations.models import Organization
from apps.payments import currencies


def display(
    organization: Organization, *, nanousd: int | None = None, at: datetime | None = None, places: int = 6
) -> dict[str, Any]:
    """`display` for an organization of another currency than dollars, else nothing: an amount at the rate of `at`.

    Costs that a team does not see are not given here either.
    """
    if organization.display_currency == currencies.USD:
        return {}
    rate = currencies.rate_at(organization.display_currency, at)
    if rate is None:
        return {}
    shown: dict[str, Any] = {
        "currency": rate.currency,
        "rate": currencies.exact_rate(rate),
        "rate_valid_from": iso(rate.valid_from),
    }
    if nanousd is not None:
        shown["total_cost"] = usd(currencies.converted(nanousd, rate), places=places)
    return {"display": shown}


def display_of_job(organization: Organization, job: Job, *, show_costs: bool) -> dict[str, Any]:
    """`display` of a job's cost to its customer, at the rate of its completion. Nothing if the team sees no costs."""
    if organization.display_currency == currencies.USD or not show_costs:
        return {}
    return display(organization, nanousd=present.client_cost_nanousd(job), at=job.completed_at)
