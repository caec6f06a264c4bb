"""Closed months: list them, close one."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.authentication import OperatorView
from apps.api.idempotent import respond
from apps.api.jobs import page
from apps.api.parsing import Input, parse
from apps.core.clock import iso
from apps.credits import periods
from apps.credits.models import Period
from apps.organizations.rights import Right


class ClosePeriodInput(Input):
    """The month to close, as YYYY-MM."""

    period: str


class PeriodList(OperatorView):
    """GET /api/periods: newest first, with their true number."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        limit, offset = page(request, default=24)
        found = Period.objects.all()
        return Response(
            {"total": found.count(), "periods": [_shown(each) for each in found[offset : offset + limit]]}
        )


class ClosePeriod(OperatorView):
    """POST /api/periods/close: closed again, a month stays as it is."""

    rights = {"POST": Right.CREDITS_WRITE}

    def post(self, request: Request) -> Response:
        body = parse(ClosePeriodInput, request)

        def effect() -> dict[str, Any]:
            period, _ = periods.close(body.period, actor=self.caller.actor)
            return {"period": period.pk}

        return respond(
            self, request, effect=effect, render=lambda ids, _: _shown(Period.objects.get(pk=ids["period"]))
        )


def _shown(period: Period) -> dict[str, Any]:
    return {
        "period": period.name,
        "ends_at": iso(period.ends_at),
        "closed_at": iso(period.closed_at),
        "closed_by": period.closed_by,
        "accounts": period.balances.count(),
    }
