"""What provider models cost, for operators: /api/prices, and /api/pricing for those in force."""

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present_catalog as present
from apps.api.aliases import ProviderModel, in_nanousd
from apps.api.authentication import OperatorView
from apps.api.fields import exact_number, query_error, query_text
from apps.api.idempotent import respond
from apps.api.listing import listed
from apps.api.parsing import Input, parse
from apps.catalog import prices
from apps.catalog.price_models import Price
from apps.catalog.rates import CLASSES, PER_PIECE, Rates
from apps.core.clock import as_utc
from apps.core.money import NANOUSD
from apps.organizations.rights import Right


def _exact(value: Any) -> Decimal:
    """A number, or a text that spells one: the text is exact to its last digit."""
    if not isinstance(value, str):
        return exact_number(value)
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError("Input should be a number, or a text that spells one") from None
    if not number.is_finite():
        raise ValueError("Input should be a finite number")
    return number


Usd = Annotated[Decimal, BeforeValidator(_exact), AfterValidator(in_nanousd)]
Source = Annotated[str, StringConstraints(max_length=255)]


class PriceInput(Input):
    """A price to add: dollars per million tokens, and per request and image."""

    model: ProviderModel
    input: Usd
    output: Usd
    cached_input: Usd | None = None
    cache_write: Usd | None = None
    cache_write_1h: Usd | None = None
    reasoning: Usd | None = None
    audio_input: Usd | None = None
    audio_output: Usd | None = None
    image_input: Usd | None = None
    image_output: Usd | None = None
    per_request: Usd | None = None
    per_image: Usd | None = None
    # Not strict: JSON has instants as text.
    valid_from: Annotated[AwareDatetime, Field(strict=False), AfterValidator(as_utc)] | None = None
    source: Source = ""

    def rates(self) -> Rates:
        """What was given, in nano-dollars."""
        given = {name: getattr(self, name) for name in (*CLASSES, *PER_PIECE)}
        return Rates(**{name: int(usd * NANOUSD) for name, usd in given.items() if usd is not None})


class Prices(OperatorView):
    """GET and POST /api/prices: every price, narrowed by `model`; with `at` those in force at that instant."""

    rights = {"GET": Right.VIEW, "POST": Right.PRICES_WRITE}

    def get(self, request: Request) -> Response:
        return _listed(request, at=_at(request))

    def post(self, request: Request) -> Response:
        body = parse(PriceInput, request)

        def effect() -> dict[str, Any]:
            made = prices.add(
                body.model,
                body.rates(),
                source=body.source,
                valid_from=body.valid_from,
                actor=self.caller.actor,
            )
            return {"price_id": str(made.pk)}

        return respond(self, request, effect=effect, render=lambda ids, _: _shown(ids["price_id"]))


class PricesInForce(OperatorView):
    """GET /api/pricing: the prices in force, narrowed by `model`."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        return _listed(request, only_in_force=True)


def _listed(request: Request, **narrowed: Any) -> Response:
    matching = prices.matching(model=query_text(request, "model"), **narrowed)
    found = listed(request, matching, default=100, orders={name: name for name in ("model", "valid_from")})
    return found.array(present.price(each) for each in found.rows)


def _shown(price_id: str) -> dict[str, Any]:
    return present.price(prices.with_state(Price.objects.filter(pk=price_id)).get())


def _at(request: Request) -> datetime | None:
    """The instant asked for, in UTC unless it says otherwise. Raises: InvalidBody."""
    value = request.GET.get("at")
    if value is None:
        return None
    try:
        # In a query a plus that is not escaped is a space.
        return as_utc(datetime.fromisoformat(value.replace(" ", "+") if "T" in value else value))
    except ValueError:
        raise query_error("at", "Must be an instant as ISO 8601, e.g. 2026-01-31T12:00:00Z", value=value) from None
