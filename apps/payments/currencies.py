"""Dated rates, and amounts in an organization's display currency. Costs are kept in dollars and only shown so.

A rate is billionths of a unit for a dollar. What is past keeps its rate: rates begin now or later, and never change.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db import IntegrityError, transaction

from apps.core import audit, clock
from apps.core.actors import Actor
from apps.core.errors import InvalidField
from apps.core.money import NANOUSD
from apps.core.short_cache import ShortCache
from apps.core.tenancy import locked
from apps.organizations.models import Organization
from apps.payments.errors import CurrencyRateExists, CurrencyRateMissing
from apps.payments.models import CurrencyRate

USD = "USD"
MAX_PPB = 10**17
# Clocks differ; a rate "from now on" is not refused for a second.
_SLACK = timedelta(minutes=1)
# Currencies whose minor unit is no hundredth (docs.stripe.com/currencies).
_WITHOUT_MINOR_UNIT = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF UGX VND VUV XAF XOF XPF"
_IN_THOUSANDTHS = "BHD JOD KWD OMR TND"

_in_force: ShortCache[CurrencyRate | None] = ShortCache(seconds=0.5, size=1000)


def forget_cached() -> None:
    _in_force.clear()


def parse_code(field: str, text: str) -> str:
    """A currency's code in capitals. Raises: InvalidField."""
    code = text.upper()
    if not (len(code) == 3 and code.isascii() and code.isalpha()):
        raise InvalidField(field, "Must be an ISO 4217 code of three letters, such as EUR.", value=text[:10])
    return code


def minor_digits(currency: str) -> int:
    """Digits after the point of an amount in this currency."""
    if currency in _WITHOUT_MINOR_UNIT.split():
        return 0
    return 3 if currency in _IN_THOUSANDTHS.split() else 2


def add_rate(
    currency: str, *, units_per_usd_ppb: int, actor: Actor, valid_from: datetime | None = None
) -> CurrencyRate:
    """Have a rate from an instant on, now unless told. Raises: InvalidField, CurrencyRateExists."""
    if currency == USD:
        raise InvalidField("currency", "A dollar is a dollar: USD has no rate.", value=currency)
    if not 0 < units_per_usd_ppb <= MAX_PPB:
        raise InvalidField("units_per_usd", f"Must be above 0 and at most {MAX_PPB // NANOUSD}.")
    now = clock.db_now()
    if valid_from is not None and valid_from < now - _SLACK:
        raise InvalidField("valid_from", "valid_from must not be in the past: what was shown stays as it was.")
    try:
        with transaction.atomic():
            rate = CurrencyRate.objects.create(
                currency=currency,
                units_per_usd_ppb=units_per_usd_ppb,
                valid_from=valid_from or now,
                created_by=str(actor)[:255],
            )
            audit.record(
                "currency_rate.create",
                actor=actor,
                kind="currency_rate",
                id=currency,
                after={"units_per_usd": exact_rate(rate), "valid_from": clock.iso(rate.valid_from)},
            )
    except IntegrityError:
        raise CurrencyRateExists(f"{currency} has a rate from that very instant on.") from None
    return rate


def rate_at(currency: str, instant: datetime | None = None) -> CurrencyRate | None:
    """The rate in force then, now unless told; before the first one, the first."""
    if instant is None:
        return _in_force.get(currency, lambda: _rate_at(currency, clock.now()))
    return _rate_at(currency, instant)


def _rate_at(currency: str, instant: datetime) -> CurrencyRate | None:
    of_currency = CurrencyRate.objects.filter(currency=currency)
    return (
        of_currency.filter(valid_from__lte=instant).order_by("-valid_from").first()
        or of_currency.order_by("valid_from").first()
    )


def set_display_currency(organization: Organization, currency: str, *, actor: Actor) -> Organization:
    """Show an organization its costs in this currency too. Repeatable. Raises: CurrencyRateMissing."""
    if (
        currency != USD
        and not CurrencyRate.objects.filter(currency=currency, valid_from__lte=clock.db_now()).exists()
    ):
        raise CurrencyRateMissing(f"{currency} has no rate in force. Add one with POST /api/currency-rates first.")
    with transaction.atomic():
        found = locked(organization)
        if found.display_currency != currency:
            audit.record(
                "organization.display_currency",
                actor=actor,
                kind="organization",
                id=found.organization_id,
                before={"display_currency": found.display_currency},
                after={"display_currency": currency},
            )
            found.display_currency = currency
            found.save(update_fields=["display_currency", "updated_at"])
    return found


def converted(nanousd: int, rate: CurrencyRate) -> int:
    """Billionths of a dollar as billionths of a unit, rounded down."""
    return nanousd * rate.units_per_usd_ppb // NANOUSD


def exact_rate(rate: CurrencyRate) -> str:
    """Units for a dollar without loss, e.g. "0.92"."""
    text = f"{Decimal(rate.units_per_usd_ppb) / NANOUSD:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def price_nanousd_per_credit(amount_minor: int, currency: str, credits: int) -> int | None:
    """What a credit was sold for; None when the currency has no rate."""
    amount_nano: int = amount_minor * 10 ** (9 - minor_digits(currency))
    if currency == USD:
        return amount_nano // credits
    rate = rate_at(currency)
    return None if rate is None else amount_nano * NANOUSD // rate.units_per_usd_ppb // credits
