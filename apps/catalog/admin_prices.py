"""Dated prices of provider models in the admin: typed in dollars, added and never changed or deleted."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.catalog import prices
from apps.catalog.price_models import Price, rate_column
from apps.catalog.rates import CLASSES, PARENTS, PER_PIECE, Rates
from apps.core.admin_base import PlainAdmin, actor_of
from apps.core.admin_columns import text_column, usd_column
from apps.core.errors import InvalidField
from apps.core.money import NANOUSD

_RATES = (*CLASSES, *PER_PIECE)


def _rate_field(name: str) -> forms.DecimalField:
    words = name.replace("_", " ")
    if name in PER_PIECE:
        help_text = f"USD {words}; empty: none"
    else:
        parent = PARENTS.get(name)
        help_text = "USD per million tokens" + (f"; empty: as {parent.replace('_', ' ')}" if parent else "")
    # 15 digits, 9 of them decimals: exact in nano-dollars and far inside a BIGINT.
    return forms.DecimalField(
        required=name in ("input", "output"),
        min_value=Decimal(0),
        max_digits=15,
        decimal_places=9,
        label=words.capitalize(),
        help_text=help_text,
    )


class PriceForm(forms.ModelForm):  # type: ignore[type-arg]
    """A price to add."""

    # A field for each rate, declared here since the form's metaclass collects them.
    locals().update({name: _rate_field(name) for name in _RATES})

    class Meta:
        model = Price
        fields = ("model", "valid_from", "source")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "valid_from" in self.fields:
            self.fields["valid_from"].required = False
            self.initial["valid_from"] = None
            self.fields["valid_from"].help_text = "UTC; empty: now. It may lie ahead, not in the past."

    def clean_model(self) -> str:
        try:
            return prices.require_model(self.cleaned_data["model"])
        except InvalidField as error:
            raise ValidationError(error.message) from None

    def rates(self) -> Rates:
        """What was typed, in nano-dollars."""
        given = {name: self.cleaned_data[name] for name in _RATES if self.cleaned_data[name] is not None}
        return Rates(**{name: int(usd * NANOUSD) for name, usd in given.items()})


@admin.register(Price)
class PriceAdmin(PlainAdmin):
    """What provider models cost. A mistake is corrected by another price from the same instant or from now."""

    audit_kind = "price"
    form = PriceForm
    list_display = (
        text_column("model"),
        "valid_from",
        "state",
        usd_column("input_nanousd_per_mtok", "input per million tokens"),
        usd_column("output_nanousd_per_mtok", "output per million tokens"),
        text_column("source"),
        "created_by",
    )
    list_display_links = ("valid_from",)
    list_filter = (("valid_from", admin.DateFieldListFilter),)
    search_fields = ("model",)
    uuid_search_fields = ("id",)
    ordering = ("model", "-valid_from", "-id")

    def audit_id(self, obj: Price) -> str:
        return obj.model

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ("model", "valid_from", *_RATES, "source")
        rates = [usd_column(rate_column(name), name.replace("_", " ")) for name in _RATES]
        return ("id", "model", "valid_from", "state", *rates, "source", "created_by", "created_at")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else self.get_fields(request, obj)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return prices.with_state(super().get_queryset(request))

    @admin.display(description="state")
    def state(self, price: Any) -> str:
        if price.is_in_force:
            return "in force"
        return "scheduled" if price.is_scheduled else "past"

    def save_model(self, request: HttpRequest, obj: Price, form: Any, change: bool) -> None:
        obj.pk = prices.add(
            obj.model,
            form.rates(),
            actor=actor_of(request),
            source=obj.source,
            valid_from=form.cleaned_data["valid_from"],
        ).pk
        obj.refresh_from_db()
