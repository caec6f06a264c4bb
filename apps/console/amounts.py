"""Fields for amounts of credits and of money, as people type them."""

from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from apps.console import formats
from apps.core.money import MAX_CREDITS, MICROS, NANOUSD


class AmountField(forms.Field):
    """A number with digits, grouping and at most so many decimals; in the form's data an integer of the smallest
    unit. `scale` is how many of those one typed unit has."""

    noun = "An amount"

    def __init__(self, *, scale: int, decimals: int, most: int, zero: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("widget", forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}))
        super().__init__(**kwargs)
        self.scale, self.decimals, self.most, self.zero = scale, decimals, most, zero

    def to_python(self, value: Any) -> Any:
        text = formats.harmless(str(value or "").strip()[:60])
        if not text:
            return None
        try:
            number = Decimal(text.replace(",", "").replace("\N{THIN SPACE}", "").replace(formats.MINUS, "-"))
        except InvalidOperation:
            raise ValidationError(f"{self.noun} is a number such as 1,500. You typed {text}.") from None
        if not number.is_finite() or abs(number) > self.most:
            raise ValidationError(f"{self.noun} can be at most {formats.count(self.most)}. You typed {text}.")
        if number < 0 or (number == 0 and not self.zero):
            raise ValidationError(f"{self.noun} must be {'0 or ' if self.zero else ''}more than 0. You typed {text}.")
        scaled = number * 10**self.decimals
        if scaled != int(scaled):
            places = f"at most {self.decimals} decimals" if self.decimals else "no decimals: whole ones alone"
            raise ValidationError(f"{self.noun} has {places}. You typed {text}.")
        return int(number * self.scale)


class CreditsField(AmountField):
    """Micros of a credit. `whole`: where the ledger's operation takes whole credits alone."""

    noun = "Credits"

    def __init__(self, *, whole: bool = False, zero: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("help_text", "whole credits, such as 1,500" if whole else "up to 6 decimals, such as 12.5")
        super().__init__(scale=MICROS, decimals=0 if whole else 6, most=MAX_CREDITS, zero=zero, **kwargs)


class DollarsField(AmountField):
    """Nano-dollars of a sum in dollars and cents."""

    noun = "Dollars"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(scale=NANOUSD, decimals=2, most=100_000_000, **kwargs)
