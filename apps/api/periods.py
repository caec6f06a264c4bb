"""Closed months: list them, close one."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.authentication import OperatorView
from apps.api.idempotent import respond
from apps.api.listing import listed
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
        orders = {"period": "name", "closed_at": "closed_at"}
        found = listed(request, Period.objects.all(), default=24, orders=orders)
        accounts = periods.account_counts(found.rows)
        return Response(found.body("periods", (_shown(each, accounts.get(each.pk, 0)) for each in found.rows)))


class ClosePeriod(OperatorView):
    """POST /api/periods/close: closed again, a month stays as it is."""

    rights = {"POST": Right.CREDITS_WRITE}

    def post(self, request: Request) -> Response:
        body = parse(ClosePeriodInput, request)

        def effect() -> dict[str, Any]:
            period, _ = periods.close(body.period, actor=self.caller.actor)
            return {"period": period.pk}

        return respond(self, request, effect=effect, render=lambda ids, _: _closed(ids["period"]))


def _closed(name: str) -> dict[str, Any]:
    period = Period.objects.get(pk=name)
    return _shown(period, periods.account_counts([period]).get(name, 0))


def _shown(period: Period, accounts: int) -> dict[str, Any]:
    return {
        "period": period.name,
        "ends_at": iso(period.ends_at),
        "closed_at": iso(period.closed_at),
        "closed_by": period.closed_by,
        "accounts": accounts,
    }
