"""Limits as tests set them, and how they stand."""

from typing import Any

from apps.core.money import MICROS
from apps.jobs import services as jobs
from apps.limits import services
from apps.limits.models import Limit, SpendWindow
from tests import make
from tests.jobs import steps


def limit(scope: str, id: str, metric: str, amount: int, **more: Any) -> Limit:
    """Set a limit; of spend in whole credits."""
    if metric.startswith("spend"):
        amount *= MICROS
    return services.put(scope=scope, id=id, metric=metric, amount=amount, actor=make.TESTER, **more)[0]


def ids(customer: make.Customer) -> dict[str, dict[str, str]]:
    """What names each scope of a customer's calls, for user `ann` and the platform's model."""
    return {
        "platform": {"id": ""},
        "organization": {"id": customer.organization.organization_id},
        "team": {"id": customer.team.team_id},
        "key": {"id": customer.principal.key_id},
        "model": {"id": "chat-default"},
        "user": {"id": "ann", "team_id": customer.team.team_id},
    }


def call(customer: make.Customer, text: str = "Hello", *, user_id: str = "ann", **more: Any) -> jobs.Submitted:
    """A job with one call of user `ann`, admitted."""
    return jobs.submit_one_call_job(
        customer.principal,
        jobs.NewJob("query", user_id=user_id),
        steps.request_for(text, **more),
        wait_s=28,
        reply_to="",
    )


def windows() -> list[tuple[str, int, int]]:
    """Scope, credits held and credits used of every spend window, in the order of scopes."""
    rows = SpendWindow.objects.order_by("scope", "metric", "period")
    return [(row.scope, row.held_micros // MICROS, row.used_micros // MICROS) for row in rows]
