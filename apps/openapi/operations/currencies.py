"""Currencies that costs are shown in, and their rates."""

from apps.api.currencies import CurrencyInput, RateInput
from apps.openapi import parameters
from apps.openapi.answers.currencies import CurrencyRate, CurrencyRates, DisplayCurrency
from apps.openapi.operation import Operation

TAG = "Currencies"

OPERATIONS = {
    "PUT /api/organizations/{organization_id}/display-currency": Operation(
        "Set the currency that an organization is shown", answer=DisplayCurrency, body=CurrencyInput, errors=(400,)
    ),
    "GET /api/currency-rates": Operation(
        "List currencies' rates",
        answer=CurrencyRates,
        query=(
            parameters.order("currency", "valid_from"),
            parameters.text("currency", "Only rates of this currency."),
            *parameters.page(100),
        ),
    ),
    "POST /api/currency-rates": Operation(
        "Add a currency's rate", answer=CurrencyRate, body=RateInput, idempotent=True, errors=(400,)
    ),
}
