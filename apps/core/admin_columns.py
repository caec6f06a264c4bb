"""Columns of admin pages: amounts with their unit, long or hostile text cut and isolated, JSON readable.

Credits are shown exactly, provider money in dollars; raw micros and nano-dollars never reach a page.
"""

import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from operator import attrgetter
from typing import Any

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.text import Truncator

from apps.core.money import MICROS, NANOUSD, exact_credits

# A callable on a row. The type stubs know callables in `list_display` but not in `fields`.
Column = Any
_TEXT_LENGTH = 60


def exact_usd(nanousd: int) -> str:
    """Nano-dollars as a decimal string of dollars without loss, with cents at least: 1500000000 -> "1.50"."""
    whole, _, fraction = f"{Decimal(nanousd) / NANOUSD:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def with_unit(micros: int) -> str:
    """Exact credits in words, e.g. "1.5 credits"."""
    return f"{exact_credits(micros)} {'credit' if micros == MICROS else 'credits'}"


def exact_percent(ppm: int) -> str:
    """Millionths as percent without loss: 125000 -> "12.5"."""
    return exact_credits(ppm * 100)


def lines(facts: Iterable[tuple[str, str]]) -> str:
    """Labels and values, one pair a line."""
    return format_html_join("", "<div>{}: <strong>{}</strong></div>", facts)


def credits_column(field: str, label: str = "") -> Column:
    """A field of micros, as exact credits. `field` may go through relations with `__`."""
    return _column(field, label or _named(field, "_micros"), exact_credits, unit="credits")


def usd_column(field: str, label: str = "") -> Column:
    """A field of nano-dollars, as exact dollars."""
    return _column(field, label or _named(field, "_nanousd"), exact_usd, unit="USD")


def text_column(field: str, label: str = "") -> Column:
    """Free text that somebody outside wrote: cut to a line, and isolated, because it may turn its direction."""
    return _column(field, label or _named(field), isolated)


def json_column(field: str, label: str = "") -> Column:
    """JSON in lines, for a page about one row."""
    return _column(field, label or _named(field), _json_block, is_sortable=False)


def isolated(text: str) -> str:
    """Text in a line of its own direction, at most 60 characters; the whole of it as a tooltip."""
    if not text:
        return ""
    return format_html('<bdi title="{}">{}</bdi>', Truncator(text).chars(500), Truncator(text).chars(_TEXT_LENGTH))


def _json_block(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return format_html('<pre class="json"><bdi>{}</bdi></pre>', text)


def _named(field: str, suffix: str = "") -> str:
    return field.rsplit("__", 1)[-1].removesuffix(suffix).replace("_", " ")


def _column(
    field: str, label: str, show: Callable[[Any], str], *, unit: str = "", is_sortable: bool = True
) -> Column:
    read = attrgetter(field.replace("__", "."))

    @admin.display(description=f"{label} ({unit})" if unit else label, ordering=field if is_sortable else None)
    def column(row: Any) -> str | None:
        value = read(row)
        return None if value is None else show(value)

    # Django names the column's CSS class and the page's field after the function.
    column.__name__ = field.replace("__", "_") + "_shown"
    return column
