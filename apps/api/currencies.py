"""Display currencies: an organization's, the dated rates, and costs shown in them beside the dollars."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, Field
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.authentication import OperatorView
from apps.api.fields import Rate, query_text
from apps.api.idempotent import respond
from apps.api.jobs import page
from apps.api.parsing import Input, parse
from apps.core.clock import iso
from apps.core.money import NANOUSD, decimal_to_int, usd
from apps.organizations import services as organizations
from apps.organizations.models import Organization
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

    def get(self, request: Request) -> Response:
        limit, offset = page(request, default=100)
        code = query_text(request, "currency")
        found = CurrencyRate.objects.all()
        if code is not None:
            found = found.filter(currency=code.upper())
        return Response({"total": found.count(), "rates": [_rate(each) for each in found[offset : offset + limit]]})

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

    def put(self, request: Request, organization_id: str) -> Response:
        body = parse(CurrencyInput, request)
        found = currencies.set_display_currency(
            organizations.find(organization_id),
            currencies.parse_code("display_currency", body.display_currency),
            actor=self.caller.actor,
        )
        return Response({"organization_id": organization_id, "display_currency": found.display_currency})


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


def _rate(found: CurrencyRate) -> dict[str, Any]:
    return {
        "currency": found.currency,
        "units_per_usd": currencies.exact_rate(found),
        "valid_from": iso(found.valid_from),
        "created_by": found.created_by,
        "created_at": iso(found.created_at),
    }
