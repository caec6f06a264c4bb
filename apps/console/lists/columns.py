"""Columns of a list: how a row is shown, how it is exported, and where it goes on a phone."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from django.utils.html import format_html

from apps.console import formats
from apps.console.templatetags import console as tags
from apps.core import clock
from apps.core.money import NANOUSD, exact_credits
from apps.core.spreadsheets import Number

Place = Literal["first", "amount", "second", "rest"]


@dataclass(frozen=True, slots=True)
class Column:
    """`show` makes what the page shows (safe HTML or text), `export` what the CSV holds. On a phone the row's first
    line has the columns `first` and `amount`, its second line those that are `second`."""

    label: str
    show: Callable[[Any], Any]
    export: Callable[[Any], Any]
    place: Place = "rest"
    is_number: bool = False
    order: str = ""


def text(label: str, read: Callable[[Any], Any], *, place: Place = "rest", order: str = "") -> Column:
    """What others wrote."""
    return Column(label, lambda row: tags.text(read(row), 80), read, place, order=order)


def plain(label: str, read: Callable[[Any], Any], *, place: Place = "rest", order: str = "") -> Column:
    """Our own words."""
    return Column(label, lambda row: read(row) or formats.UNKNOWN, read, place, order=order)


def link(
    label: str, read: Callable[[Any], Any], url: Callable[[Any], str], *, place: Place = "first", order: str = ""
) -> Column:
    """Text that opens the row."""

    def show(row: Any) -> str:
        return format_html('<a href="{}">{}</a>', url(row), formats.harmless(str(read(row)))[:120])

    return Column(label, show, read, place, order=order)


def ident(label: str, read: Callable[[Any], Any], url: Callable[[Any], str], *, place: Place = "first") -> Column:
    """An id that opens the row, short, with a copy button; whole in the CSV."""
    return Column(label, lambda row: tags.ident(read(row), url(row)), lambda row: str(read(row)), place)


def state(label: str, read: Callable[[Any], str], *, place: Place = "second") -> Column:
    return Column(label, lambda row: tags.state(read(row)), read, place)


def when(label: str, read: Callable[[Any], Any], *, place: Place = "second", order: str = "") -> Column:
    def export(row: Any) -> str:
        value = read(row)
        return clock.iso(value) or "" if value else ""

    return Column(label, lambda row: tags.when(read(row)), export, place, order=order)


def credits(label: str, read: Callable[[Any], int | None], *, place: Place = "rest", order: str = "") -> Column:
    def export(row: Any) -> Any:
        value = read(row)
        return None if value is None else Number(exact_credits(value))

    return Column(label, lambda row: formats.credits(read(row)), export, place, is_number=True, order=order)


def usd(label: str, read: Callable[[Any], int | None], *, place: Place = "rest", order: str = "") -> Column:
    def export(row: Any) -> Any:
        value = read(row)
        return None if value is None else Number(f"{Decimal(value) / NANOUSD:f}")

    return Column(label, lambda row: formats.usd(read(row)), export, place, is_number=True, order=order)


def count(label: str, read: Callable[[Any], int | None], *, place: Place = "rest", order: str = "") -> Column:
    return Column(label, lambda row: formats.count(read(row)), read, place, is_number=True, order=order)
