"""Answers about currencies."""

from typing_extensions import TypedDict

from apps.openapi.answers.shared import Page
from apps.openapi.kinds import Instant


class CurrencyRate(TypedDict):
    """What a dollar is in a currency, from an instant on."""

    currency: str
    units_per_usd: str
    valid_from: Instant
    created_by: str
    created_at: Instant


class CurrencyRates(Page):
    """A page of rates, newest first of each currency."""

    rates: list[CurrencyRate]


class DisplayCurrency(TypedDict):
    """The currency that an organization is shown."""

    organization_id: str
    display_currency: str
