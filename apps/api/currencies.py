"""Display currencies: the dated rates, and the one that an organization is shown its costs in (`display`)."""

from typing import Annotated, Any

from pydantic import AwareDatetime, Field
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.authentication import OperatorView
from apps.api.fields import Rate, query_text
from apps.api.idempotent import respond
from apps.api.listing import listed
from apps.api.parsing import Input, parse
from apps.core.clock import iso
from apps.core.money import NANOUSD, decimal_to_int
from apps.organizations import services as organizations
from apps.organizations.rights import Right
from apps.payments import currencies
from apps.payments.models import CurrencyRate

Code = Annotated[str, Field(min_length=3, max_length=3)]


class RateInput(Input):
    """What a dollar is in a currency, from now or from an instant ahead on."""

    currency: Code
    units_per_usd: Annotated[Rate, Field(gt=0, le=100_000_000)]
    valid_from: Annotated[AwareDatetime, Field(strict=False)] | None = None


class CurrencyInput(Input):
    """The currency in which an organization is shown its costs."""

    display_currency: Code


class RateList(OperatorView):
    """GET, POST /api/currency-rates: newest first of each currency. A rate is never changed."""

    rights = {"GET": Right.VIEW, "POST": Right.CREDITS_WRITE}

    def get(self, request: Request) -> Response:
        code = query_text(request, "currency")
        found = CurrencyRate.objects.all()
        if code is not None:
            found = found.filter(currency=code.upper())
        orders = {"currency": "currency", "valid_from": "valid_from"}
        page = listed(request, found, default=100, orders=orders)
        return Response(page.body("rates", (_rate(each) for each in page.rows)))

    def post(self, request: Request) -> Response:
        body = parse(RateInput, request)

        def effect() -> dict[str, Any]:
            rate = currencies.add_rate(
                currencies.parse_code("currency", body.currency),
                units_per_usd_ppb=decimal_to_int(body.units_per_usd, scale=NANOUSD),
                valid_from=body.valid_from,
                actor=self.caller.actor,
            )
            return {"rate_id": rate.pk}

        return respond(
            self, request, effect=effect, render=lambda ids, _: _rate(CurrencyRate.objects.get(pk=ids["rate_id"]))
        )


class OrganizationCurrency(OperatorView):
    """PUT /api/organizations/{organization_id}/display-currency"""

    rights = {"PUT": Right.CUSTOMERS_WRITE}

    def put(self, request: Request, organization_id: str) -> Response:
        body = parse(CurrencyInput, request)
        found = currencies.set_display_currency(
            organizations.find(organization_id),
            currencies.parse_code("display_currency", body.display_currency),
            actor=self.caller.actor,
        )
        return Response({"organization_id": organization_id, "display_currency": found.display_currency})


def _rate(found: CurrencyRate) -> dict[str, Any]:
    return {
        "currency": found.currency,
        "units_per_usd": currencies.exact_rate(found),
        "valid_from": iso(found.valid_from),
        "created_by": found.created_by,
        "created_at": iso(found.created_at),
    }
