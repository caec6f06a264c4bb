"""Dated prices of provider models to read. They are added on the console's pages, /admin/price/new/."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.catalog import prices
from apps.catalog.price_models import Price, rate_column
from apps.catalog.rates import CLASSES, PER_PIECE
from apps.core.admin_base import ReadOnlyAdmin
from apps.core.admin_columns import text_column, usd_column

_RATES = (*CLASSES, *PER_PIECE)


@admin.register(Price)
class PriceAdmin(ReadOnlyAdmin):
    """What provider models cost. A mistake is corrected by another price from the same instant or from now."""

    audit_kind = "price"
    fields = (
        "id",
        text_column("model"),
        "valid_from",
        "state",
        *(usd_column(rate_column(name), name.replace("_", " ")) for name in _RATES),
        text_column("source"),
        text_column("created_by"),
        "created_at",
    )

    def audit_id(self, obj: Price) -> str:
        return obj.model

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return prices.with_state(super().get_queryset(request))

    @admin.display(description="state")
    def state(self, price: Any) -> str:
        if price.is_in_force:
            return "in force"
        return "scheduled" if price.is_scheduled else "past"
