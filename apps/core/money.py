"""Units of money. Credits are integers of one millionth (micros), provider money of a billionth of a dollar.

No float comes near an amount: conversions go through Decimal and end in an integer, rounded once, downwards.
"""

from decimal import ROUND_DOWN, Decimal

MICROS = 1_000_000
NANOUSD = 1_000_000_000
PPM = 1_000_000
# 10^12 credits: far above any sale, far below what a BIGINT of micros holds.
MAX_CREDITS = 1_000_000_000_000
MAX_BIGINT = 9_223_372_036_854_775_807


def credits_to_micros(credits: int) -> int:
    """Whole credits as micros."""
    return credits * MICROS


def whole_credits(micros: int) -> int:
    """Micros floored to whole credits: what is shown as spendable can be spent."""
    return micros // MICROS


def exact_credits(micros: int) -> str:
    """Micros as a decimal string of credits without loss, e.g. 1500000 -> "1.5"."""
    text = f"{Decimal(micros) / MICROS:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def usd(nanousd: int, *, places: int = 6) -> float:
    """Nano-dollars as the JSON number of dollars that the wire wants, rounded to `places`."""
    quantum = Decimal(1).scaleb(-places)
    return float((Decimal(nanousd) / NANOUSD).quantize(quantum))


def decimal_to_int(value: Decimal, *, scale: int) -> int:
    """`value` times `scale`, rounded down to an integer."""
    return int((value * scale).to_integral_value(rounding=ROUND_DOWN))
