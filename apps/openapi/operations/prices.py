"""What models cost, and what a job would cost."""

from apps.api.prices import PriceInput
from apps.api.quotes import QuoteInput
from apps.openapi import parameters
from apps.openapi.answers.prices import Price, Quote
from apps.openapi.operation import Operation
from apps.openapi.responses import ARRAY_HEADERS

TAG = "Prices and quotes"

OPERATIONS = {
    "GET /api/prices": Operation(
        "List prices",
        answer=list[Price],
        query=(
            parameters.order("model", "valid_from"),
            parameters.text("model", "Only prices of this model."),
            parameters.instant("at", "Only prices in force at this instant; in UTC unless it says otherwise."),
            *parameters.page(100),
        ),
        headers=ARRAY_HEADERS,
    ),
    "POST /api/prices": Operation("Add a price", answer=Price, body=PriceInput, idempotent=True),
    "GET /api/pricing": Operation(
        "List the prices in force",
        answer=list[Price],
        query=(
            parameters.order("model", "valid_from"),
            parameters.text("model", "Only prices of this model."),
            *parameters.page(100),
        ),
        headers=ARRAY_HEADERS,
    ),
    "POST /api/quotes": Operation("Quote a job before it runs", answer=Quote, body=QuoteInput, errors=(404,)),
}
