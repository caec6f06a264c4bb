"""What provider models cost: dated prices, and models in use that have none."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from django.db.models import Q, QuerySet
from django.db.models.functions import Lower, Now
from django.urls import reverse
from django.utils.html import format_html

from apps.analytics import figures
from apps.analytics.figures import Filters, Sums
from apps.analytics.ranges import Preset, of_preset
from apps.catalog import prices
from apps.catalog.models import ModelAlias
from apps.catalog.price_models import Price
from apps.console import formats
from apps.console.lists import columns
from apps.console.lists.base import Empty, ListPage, Narrowed
from apps.console.lists.columns import Column
from apps.console.lists.filters import Choice, Exact
from apps.console.pages.base import Button
from apps.organizations.rights import Right

_UNPRICED_SHOWN = 20


def _state(price: Any) -> str:
    if price.is_in_force:
        return "in force"
    return "scheduled" if price.is_scheduled else "past"


def _in_state(value: str) -> Q:
    if value == "in-force":
        return Q(is_in_force=True)
    return Q(valid_from__gt=Now()) if value == "scheduled" else Q(is_in_force=False, valid_from__lte=Now())


def _others(price: Price) -> str:
    """The rates besides input and output, in words."""
    given = price.rates.given()
    return ", ".join(
        f"{name.replace('_', ' ')} {formats.usd(rate)}"
        for name, rate in given.items()
        if name not in ("input", "output")
    )


def _new_url(price: Price) -> str:
    return f"{reverse('admin:price_new')}?model={quote(price.model)}"


class PriceList(ListPage):
    title = "Prices"
    noun = "prices"
    line = "What providers charge, in USD per million tokens. A price is never changed: a new one follows it."
    search_help = "provider model"
    ordering = ("model", "-valid_from", "-id")
    export_name = "prices"
    empty = Empty("No prices: metered jobs are refused. Import the price map.", "Import", "/admin/price/import/")
    before_template = "console/pages/prices_unpriced.html"
    columns = (
        columns.link(
            "Provider model",
            lambda price: price.model,
            lambda price: reverse("admin:catalog_price_change", args=[price.pk]),
            order="model",
        ),
        columns.state("State", _state),
        columns.usd("Input", lambda price: price.input_nanousd_per_mtok, place="amount"),
        columns.usd("Output", lambda price: price.output_nanousd_per_mtok, place="second"),
        columns.plain("Other classes", _others),
        columns.when("Valid from", lambda price: price.valid_from, order="valid_from"),
        columns.text("Source", lambda price: price.source),
        columns.text("Used by", lambda price: ", ".join(price.aliases)),
        columns.count("Tokens, 30 days", lambda price: price.tokens),
        Column(
            "Change",
            lambda price: (
                format_html('<a href="{}">New price</a>', _new_url(price)) if price.may_price else formats.UNKNOWN
            ),
            lambda price: "",
            "second",
        ),
    )
    filters = (
        Choice(
            "state",
            "State",
            choices=(("in-force", "in force"), ("scheduled", "scheduled"), ("past", "past")),
            conditions=_in_state,
        ),
        Exact("model", "Provider model", lookup="model__iexact"),
    )

    def get_rows(self) -> QuerySet[Any]:
        return prices.with_state(Price.objects.all())

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(model__icontains=term)

    def buttons(self) -> Sequence[Button]:
        return (
            Button("Import price map", reverse("admin:price_import"), Right.PRICES_WRITE),
            Button("New price", reverse("admin:price_new"), Right.PRICES_WRITE, is_main=True),
        )

    def decorate(self, rows: Sequence[Any]) -> None:
        """Which aliases are priced by it, and what they used: of prices in force."""
        named = ModelAlias.objects.annotate(model=Lower("provider_model")).filter(
            model__in=[price.model for price in rows if price.is_in_force], input_nanousd_per_mtok__isnull=True
        )
        aliases: dict[str, list[str]] = {}
        for model, name in named.order_by("name").values_list("model", "name"):
            aliases.setdefault(model, []).append(name)
        sums = figures.groups("model", of_preset(Preset.MONTH, "UTC"), Filters()) if aliases else {}
        for price in rows:
            price.aliases = aliases.get(price.model, []) if price.is_in_force else []
            used = [sums.get(name, Sums()) for name in price.aliases]
            price.tokens = sum(each.prompt_tokens + each.completion_tokens for each in used) if used else None
            price.may_price = self.operator.holds(Right.PRICES_WRITE)

    def before_table(self, narrowed: Narrowed) -> dict[str, Any]:
        unpriced = prices.unpriced_models()
        return {
            "unpriced": unpriced[:_UNPRICED_SHOWN],
            "more_unpriced": max(0, len(unpriced) - _UNPRICED_SHOWN),
            "may_price": self.operator.holds(Right.PRICES_WRITE),
        }
