"""A new price of a provider model, from now or an instant ahead. A price is never changed."""

from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.urls import reverse

from apps.catalog import prices
from apps.catalog.rates import CLASSES, PARENTS, PER_PIECE, Rates
from apps.console import formats
from apps.console.actions.base import Action, ActionForm, Change, Done, Preview
from apps.core.actors import Actor
from apps.core.admin_columns import exact_usd
from apps.core.errors import InvalidField
from apps.core.money import NANOUSD
from apps.jobs import repricing
from apps.organizations.rights import Right

RATES = (*CLASSES, *PER_PIECE)
DAYS = 30


def words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _rate_field(name: str) -> forms.DecimalField:
    if name in PER_PIECE:
        help_text = "USD; empty: none"
    else:
        parent = PARENTS.get(name)
        help_text = "USD per million tokens" + (f"; empty: as {words(parent).lower()}" if parent else "")
    # 15 digits, 9 of them decimals: exact in nano-dollars and far inside a BIGINT.
    return forms.DecimalField(
        label=words(name),
        required=name in ("input", "output"),
        min_value=Decimal(0),
        max_digits=15,
        decimal_places=9,
        help_text=help_text,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )


class PriceForm(ActionForm):
    """A price to add."""

    model = forms.CharField(label="Provider model", max_length=255, help_text="as aliases name it, e.g. openai/gpt-9")
    valid_from = forms.DateTimeField(
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text="in your time zone; empty: now. It may lie ahead, not in the past.",
    )
    # A field for each rate, declared here since the form's metaclass collects them.
    locals().update({name: _rate_field(name) for name in RATES})
    source = forms.CharField(max_length=255, required=False, help_text="where it was read")

    def clean_model(self) -> str:
        try:
            return prices.require_model(self.cleaned_data["model"])
        except InvalidField as error:
            raise ValidationError(error.message) from None


def rates_of(asked: dict[str, Any]) -> Rates:
    """What was typed, in nano-dollars."""
    given = {name: asked[name] for name in RATES if asked[name] is not None}
    return Rates(**{name: int(usd * NANOUSD) for name, usd in given.items()})


def rate_changes(before: Rates | None, after: Rates) -> list[Change]:
    """The rates that differ."""
    return [
        Change(words(name), formats.usd(old), formats.usd(new))
        for name, (old, new) in prices.changes(before, after).items()
    ]


class AddPrice(Action):
    """New price from now, or from an instant on."""

    right = Right.PRICES_WRITE
    form_class = PriceForm
    verb = "Add price"
    busy = "Adding…"
    title = "New price"
    is_live = True

    def load(self, **kwargs: Any) -> None:
        self.obj = None

    def back_url(self) -> str:
        return reverse("admin:catalog_price_changelist")

    def initial(self) -> dict[str, Any]:
        """What stands, for a model that a link names."""
        given = super().initial()
        standing = prices.in_force(str(given.get("model", "")).replace("\x00", "")[:255])
        if standing is None:
            return given
        return {name: exact_usd(rate) for name, rate in standing.rates.given().items()} | given

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        if asked is None:
            return Preview(consequences=["Calls admitted from then on are priced by it; earlier ones keep theirs."])
        standing, rates = prices.in_force(asked["model"], at=asked["valid_from"]), rates_of(asked)
        repriced = repricing.last_days({asked["model"]: rates}, days=DAYS).get(asked["model"])
        lines = ["Calls admitted from then on are priced by it; earlier ones keep theirs."]
        if repriced is not None:
            lines.append(cost_words(repriced))
        return Preview(
            changes=rate_changes(standing.rates if standing else None, rates),
            consequences=lines,
            seen=str(standing.pk) if standing else "none",
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        price = prices.add(
            asked["model"], rates_of(asked), actor=actor, source=asked["source"], valid_from=asked["valid_from"]
        )
        from_when = formats.instant_in_full(price.valid_from)
        return Done(f"{price.model} has a price from {from_when} on.", f"{self.back_url()}?model={price.model}")


def cost_words(repriced: repricing.Repriced) -> str:
    """What the calls of the last days cost, and would have."""
    return (
        f"{formats.count(repriced.calls)} calls in {DAYS} days cost {formats.usd(repriced.cost_nanousd)}"
        f" and would have cost {formats.usd(repriced.new_cost_nanousd)}."
    )
