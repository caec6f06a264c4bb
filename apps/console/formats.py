"""How the console writes numbers, money, time and words that others wrote. Exact; only charts shorten."""

import unicodedata
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from django.utils import timezone

from apps.core.money import MICROS, NANOUSD, exact_credits

MINUS = "\N{MINUS SIGN}"
UNKNOWN = "\N{EN DASH}"
TEXT_MAX = 200


def count(number: int | None) -> str:
    """Grouped: 1234567 -> "1,234,567"."""
    return UNKNOWN if number is None else f"{number:,}".replace("-", MINUS)


def credits(micros: int | None) -> str:
    """Exact credits, grouped: 1234500000 -> "1,234.5"."""
    if micros is None:
        return UNKNOWN
    whole, _, fraction = exact_credits(abs(micros)).partition(".")
    text = f"{int(whole):,}" + (f".{fraction}" if fraction else "")
    return f"{MINUS}{text}" if micros < 0 else text


def credits_in_words(micros: int) -> str:
    """With the unit: "1 credit", "2.5 credits"."""
    return f"{credits(micros)} {'credit' if micros == MICROS else 'credits'}"


def usd(nanousd: int | None) -> str:
    """Exact dollars with cents at least: 414000 -> "$0.000414"."""
    if nanousd is None:
        return UNKNOWN
    whole, _, fraction = f"{Decimal(abs(nanousd)) / NANOUSD:f}".partition(".")
    text = f"${int(whole):,}.{fraction.rstrip('0').ljust(2, '0')}"
    return f"{MINUS}{text}" if nanousd < 0 else text


def usd_sum(nanousd: int | None) -> str:
    """A sum of dollars, to the cent."""
    if nanousd is None:
        return UNKNOWN
    amount = (Decimal(abs(nanousd)) / NANOUSD).quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    return f"{MINUS if nanousd < 0 and amount else ''}${amount:,}"


def percent(part: int, whole: int) -> str:
    """One decimal: "12.5 %"; of nothing: "n/a"."""
    if whole == 0:
        return "n/a"
    return f"{Decimal(100 * part) / whole:.1f} %".replace("-", MINUS)


def short(number: int, *, per: int = 1) -> str:
    """For charts and headline numbers alone: 12400 -> "12.4k". `per` is the unit, e.g. MICROS."""
    value = Decimal(number) / per
    for limit, suffix in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if abs(value) >= limit:
            shown = f"{value / (1000 if suffix == 'k' else limit):.1f}".removesuffix(".0")
            return f"{shown}{suffix}".replace("-", MINUS)
    return f"{value:,.2f}".rstrip("0").rstrip(".").replace("-", MINUS)


def duration(ms: int | None) -> str:
    """850 -> "850 ms", 12400 -> "12.4 s", 185000 -> "3 min 05 s", 7800000 -> "2 h 10 min"."""
    if ms is None:
        return UNKNOWN
    if ms < 1000:
        return f"{ms} ms"
    if ms < 60_000:
        return f"{ms / 1000:.1f} s"
    seconds = ms // 1000
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    if seconds < 172_800:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3600} h"


def ago(instant: datetime, *, now: datetime | None = None) -> str:
    """How far away: "3 min ago", "in 12 d"."""
    gap = (now or timezone.now()) - instant
    text = _coarse(abs(gap))
    if text == "0 s":
        return "now"
    return f"{text} ago" if gap >= timedelta() else f"in {text}"


def _coarse(gap: timedelta) -> str:
    seconds = int(gap.total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def clock(instant: datetime, *, now: datetime | None = None) -> str:
    """In the viewer's zone: the time today, with the date on other days and the year in other years."""
    local, today = timezone.localtime(instant), timezone.localtime(now or timezone.now())
    if local.date() == today.date():
        return f"{local:%H:%M:%S}"
    if local.year == today.year:
        return f"{local.day} {local:%b %H:%M}"
    return f"{local.day} {local:%b %Y %H:%M}"


def instant_in_full(instant: datetime) -> str:
    """With zone, and in UTC: for hover and focus."""
    local = timezone.localtime(instant)
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()} · {instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def harmless(text: str) -> str:
    """Control characters made visible. Escaping and isolation are the template tag's."""
    return "".join("\N{SYMBOL FOR NULL}" if unicodedata.category(each) in ("Cc", "Cs") else each for each in text)
