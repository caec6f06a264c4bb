"""A rate card's terms as operators write and read them (credits and dollars, exact), and as columns keep them."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from apps.core.bodies import Input
from apps.core.errors import InvalidField
from apps.core.money import MAX_CREDITS, MICROS, NANOUSD, PPM, exact_credits
from apps.credits.models import RateCardVersion
from apps.credits.pricing import DEFAULT_MICROS_PER_USD, DEFAULT_TOKENS_PER_CREDIT, Mode, Policy

Columns = dict[str, Any]
MAX_USD = 1_000_000
MAX_TOKENS = 1_000_000_000_000


def _decimal(value: Any) -> Decimal:
    """A JSON number or a decimal string, without a float's noise."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("Input should be a number, or a decimal number as a string")
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("Input should be a decimal number") from None
    if not found.is_finite():
        raise ValueError("Input should be a finite number")
    return found


def _places(most: int) -> Callable[[Decimal], Decimal]:
    def fits(value: Decimal) -> Decimal:
        exponent = value.normalize().as_tuple().exponent
        if isinstance(exponent, int) and -exponent > most:
            raise ValueError(f"Input may have {most} decimal places")
        return value

    return fits


_Credits = Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, le=MAX_CREDITS), AfterValidator(_places(6))]
_Usd = Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, le=MAX_USD), AfterValidator(_places(9))]
_Rate = Annotated[Decimal, BeforeValidator(_decimal), Field(gt=0, le=1_000_000), AfterValidator(_places(6))]
_Percent = Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, le=100_000), AfterValidator(_places(4))]
_Policy = Literal["free", "cost", "percent"]


class TermsInput(Input):
    """The terms of a version. What is not given is as the default says."""

    mode: Literal["flat", "metered_usd", "metered_tokens", "hybrid"]
    price_credits: _Credits = Decimal(1)
    credits_per_dollar: _Rate | None = None
    tokens_per_credit: Annotated[int, Field(gt=0, le=MAX_TOKENS)] | None = None
    cost_markup_percentage: _Percent = Decimal(0)
    minimum_credits: _Credits = Decimal(1)
    ceiling_credits: _Credits | None = None
    allowance_usd: _Usd | None = None
    allowance_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = None
    cost_cap_usd: _Usd | None = None
    included_tries: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    rounding: Literal["down", "up", "none"] = "down"
    on_failed: _Policy = "free"
    on_cancelled: _Policy = "free"
    on_partly_failed: Literal["full", "cost", "percent"] = "full"
    on_abandoned: Literal["completed", "free"] = "completed"
    policy_percent: Annotated[int, Field(ge=0, le=100)] = 0


class CardInput(TermsInput):
    """A card with the terms of a version. Of neither a team nor an organization: the platform's."""

    organization_id: str | None = None
    team_id: str | None = None
    job_type: Annotated[str, StringConstraints(max_length=100)] | None = None


def columns(given: TermsInput) -> Columns:
    """The terms as columns of a version. Raises: InvalidField for terms that contradict each other."""
    found: Columns = {
        "mode": given.mode,
        "price_micros": int(given.price_credits * MICROS),
        "micros_per_usd": _scaled(given.credits_per_dollar, MICROS),
        "tokens_per_credit": given.tokens_per_credit,
        "markup_ppm": int(given.cost_markup_percentage * PPM / 100),
        "minimum_micros": int(given.minimum_credits * MICROS),
        "ceiling_micros": _scaled(given.ceiling_credits, MICROS),
        "allowance_nanousd": _scaled(given.allowance_usd, NANOUSD),
        "allowance_tokens": given.allowance_tokens,
        "cost_cap_nanousd": _scaled(given.cost_cap_usd, NANOUSD),
        "included_tries": given.included_tries,
        "rounding": given.rounding,
        "on_failed": given.on_failed,
        "on_cancelled": given.on_cancelled,
        "on_partly_failed": given.on_partly_failed,
        "on_abandoned": given.on_abandoned,
        "policy_percent": given.policy_percent,
    }
    _require_consistent(found)
    return found


def _scaled(value: Decimal | None, scale: int) -> int | None:
    return None if value is None else int(value * scale)


def columns_of(version: RateCardVersion) -> Columns:
    """A version's terms, for another one like it."""
    return {name: getattr(version, name) for name in COLUMNS}


COLUMNS = (
    "mode",
    "price_micros",
    "micros_per_usd",
    "tokens_per_credit",
    "markup_ppm",
    "minimum_micros",
    "ceiling_micros",
    "allowance_nanousd",
    "allowance_tokens",
    "cost_cap_nanousd",
    "included_tries",
    "rounding",
    "on_failed",
    "on_cancelled",
    "on_partly_failed",
    "on_abandoned",
    "policy_percent",
)


def as_wire(version: RateCardVersion) -> dict[str, Any]:
    """A version's terms in the form of `TermsInput`: amounts as exact decimal strings, rates as they apply."""
    return {
        "mode": version.mode,
        "price_credits": exact_credits(version.price_micros),
        "credits_per_dollar": exact_credits(version.micros_per_usd or DEFAULT_MICROS_PER_USD),
        "tokens_per_credit": version.tokens_per_credit or DEFAULT_TOKENS_PER_CREDIT,
        "cost_markup_percentage": exact_credits(version.markup_ppm * 100),
        "minimum_credits": exact_credits(version.minimum_micros),
        "ceiling_credits": None if version.ceiling_micros is None else exact_credits(version.ceiling_micros),
        "allowance_usd": _usd(version.allowance_nanousd),
        "allowance_tokens": version.allowance_tokens,
        "cost_cap_usd": _usd(version.cost_cap_nanousd),
        "included_tries": version.included_tries,
        "rounding": version.rounding,
        "on_failed": version.on_failed,
        "on_cancelled": version.on_cancelled,
        "on_partly_failed": version.on_partly_failed,
        "on_abandoned": version.on_abandoned,
        "policy_percent": version.policy_percent,
    }


def as_given(version: RateCardVersion) -> dict[str, Any]:
    """Like `as_wire`, with a rate that was not given left out: what a partial change is laid over."""
    wire = as_wire(version)
    if version.micros_per_usd is None:
        del wire["credits_per_dollar"]
    if version.tokens_per_credit is None:
        del wire["tokens_per_credit"]
    return wire


def _usd(nanousd: int | None) -> str | None:
    if nanousd is None:
        return None
    text = f"{Decimal(nanousd) / NANOUSD:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _require_consistent(terms: Columns) -> None:
    is_hybrid = terms["mode"] == Mode.HYBRID
    allowances = [name for name in ("allowance_nanousd", "allowance_tokens") if terms[name] is not None]
    if is_hybrid and len(allowances) != 1:
        raise InvalidField("allowance_usd", "A hybrid card needs allowance_usd or allowance_tokens, one of them.")
    if allowances and not is_hybrid:
        raise InvalidField("allowance_usd", "Only a hybrid card has an allowance (allowance_usd, allowance_tokens).")
    ceiling = terms["ceiling_micros"]
    if ceiling is not None:
        if terms["mode"] == Mode.FLAT:
            raise InvalidField("ceiling_credits", "A flat card has no ceiling: its price is one.")
        least, name = (
            (terms["price_micros"], "price_credits") if is_hybrid else (terms["minimum_micros"], "minimum_credits")
        )
        if ceiling < least:
            raise InvalidField("ceiling_credits", f"Must be at least {name}, {exact_credits(least)}.")
    takes_percent = Policy.PERCENT in (terms["on_failed"], terms["on_cancelled"])
    if takes_percent and not terms["policy_percent"]:
        raise InvalidField("policy_percent", "Must be 1 to 100: on_failed or on_cancelled takes a percentage.")
