"""Dated prices of provider models: add and find them. See docs/prices.md.

A price is never changed: what a call froze is priced by the same figures for ever, so that rates are cached by id.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Lower, Now

from apps.catalog.errors import PriceNotFound
from apps.catalog.models import ModelAlias, ModelGroupMember
from apps.catalog.price_models import Price, rate_column
from apps.catalog.rates import Rates
from apps.core import audit, clock
from apps.core.actors import Actor
from apps.core.clock import iso
from apps.core.errors import InvalidField

_MODEL_LENGTH = 255
# Dollars per million tokens, as nano-dollars: far inside a BIGINT.
MAX_NANOUSD = 10**15 - 1
_CACHED_MAX = 50_000


def add(
    model: str,
    rates: Rates,
    *,
    actor: Actor,
    source: str = "",
    valid_from: datetime | None = None,
    reason: str = "",
) -> Price:
    """Price a provider model from now, or from an instant ahead.

    Where the same rates are in force by then, that price is returned and none is made. Raises: InvalidField.
    """
    name = require_model(model)
    _require_rates(rates)
    with transaction.atomic():
        if valid_from is not None and valid_from < clock.db_now():
            raise InvalidField(
                "valid_from",
                "Must not lie in the past: calls were priced by what was in force. Leave it out for now.",
                value=iso(valid_from),
            )
        standing = in_force(name, at=valid_from)
        if standing is not None and standing.rates == rates:
            return standing
        price = Price(
            model=name,
            source=source[:255],
            created_by=str(actor)[:255],
            **{rate_column(each): getattr(rates, each) for each in rates.__slots__},
            **({} if valid_from is None else {"valid_from": valid_from}),
        )
        price.save(force_insert=True)
        price.refresh_from_db()
        audit.record(
            "price.add",
            actor=actor,
            kind="price",
            id=name,
            before={} if standing is None else {"price_id": str(standing.pk), **standing.rates.given()},
            after={
                "price_id": str(price.pk),
                "valid_from": iso(price.valid_from),
                "source": price.source,
                **rates.given(),
            },
            reason=reason,
        )
    return price


def in_force(model: str, *, at: datetime | None = None) -> Price | None:
    """The price of a provider model at an instant, now by default."""
    return _newest(Price.objects.filter(model=model.lower()), at).first()


def find(model: str, *, at: datetime | None = None) -> Price:
    """The same. Raises: PriceNotFound."""
    price = in_force(model, at=at)
    if price is None:
        raise PriceNotFound(f"Provider model '{model}' has no price")
    return price


def all_in_force(*, at: datetime | None = None) -> QuerySet[Price]:
    """The price of every provider model at an instant, now by default."""
    instant = Now() if at is None else at
    newer = Price.objects.filter(model=OuterRef("model"), valid_from__lte=instant).filter(
        Q(valid_from__gt=OuterRef("valid_from")) | Q(valid_from=OuterRef("valid_from"), pk__gt=OuterRef("pk"))
    )
    return Price.objects.filter(~Exists(newer), valid_from__lte=instant).order_by("model")


def with_state(prices: QuerySet[Price]) -> QuerySet[Price]:
    """Prices with `is_in_force` and `is_scheduled` beside their columns."""
    current = all_in_force().filter(pk=OuterRef("pk"))
    return prices.annotate(is_in_force=Exists(current), is_scheduled=Q(valid_from__gt=Now()))


def matching(*, model: str | None = None, at: datetime | None = None, only_in_force: bool = False) -> QuerySet[Price]:
    """Prices by model, the newest of each first, with their state. With `at` those in force then."""
    prices = all_in_force(at=at) if only_in_force or at is not None else Price.objects.all()
    if model is not None:
        prices = prices.filter(model=model.lower())
    return with_state(prices)


def used_models() -> list[str]:
    """Provider models, as they are spelled, that an alias, a model group or a price names."""
    found = {*ModelAlias.objects.values_list("provider_model", flat=True)}
    found |= {*ModelGroupMember.objects.filter(alias__isnull=True).values_list("provider_model", flat=True)}
    spelled = {name.lower() for name in found}
    priced = Price.objects.order_by().values_list("model", flat=True).distinct()
    return sorted(found | {name for name in priced if name not in spelled})


def unpriced_models() -> list[str]:
    """Provider models in use without a price: of active aliases without one of their own, and of models in groups."""
    aliases = ModelAlias.objects.filter(status=ModelAlias.Status.ACTIVE, input_nanousd_per_mtok__isnull=True).exclude(
        route=ModelAlias.Route.DEMO
    )
    members = ModelGroupMember.objects.filter(alias__isnull=True, is_active=True).exclude(route=ModelAlias.Route.DEMO)
    used = {*aliases.values_list("provider_model", flat=True), *members.values_list("provider_model", flat=True)}
    priced = {*all_in_force().values_list("model", flat=True)} if used else set()
    return sorted(name for name in used if name.lower() not in priced)


# --- For the call path -------------------------------------------------------------------------------------

_rates: dict[str, Rates] = {}


def newest_of(model: Combinable) -> QuerySet[Price]:
    """As a subquery: the price in force of the provider model that an expression names."""
    return _newest(Price.objects.filter(model=Lower(model)), None)


def rates_of(price_id: UUID | str) -> Rates:
    """The rates of a price, read once a process. Raises: PriceNotFound."""
    known = _rates.get(str(price_id))
    if known is None:
        load([price_id])
        known = _rates.get(str(price_id))
    if known is None:
        raise PriceNotFound(f"Price {price_id} not found")
    return known


def load(price_ids: Iterable[UUID | str]) -> None:
    """Read those of these prices that this process does not know. No query when it knows them all."""
    missing = [str(each) for each in price_ids if str(each) not in _rates]
    if not missing:
        return
    if len(_rates) > _CACHED_MAX:
        _rates.clear()
    for price in Price.objects.filter(pk__in=missing):
        _rates[str(price.pk)] = price.rates


def _newest(prices: QuerySet[Price], at: datetime | None) -> QuerySet[Price]:
    return prices.filter(valid_from__lte=Now() if at is None else at).order_by("-valid_from", "-id")[:1]


# --- Rules -------------------------------------------------------------------------------------------------


def require_model(model: str) -> str:
    """A provider model's name as prices have it: in lower case. Raises: InvalidField."""
    name = model.strip().lower()
    # Other letters are not made small alike by Python and the databases.
    if not (1 <= len(name) <= _MODEL_LENGTH and name.isascii() and name.isprintable()):
        raise InvalidField(
            "model", f"Must be a provider model's name: 1 to {_MODEL_LENGTH} printable ASCII characters.", value=model
        )
    return name


def _require_rates(rates: Rates) -> None:
    for name in rates.__slots__:
        rate = getattr(rates, name)
        if rate is not None and not 0 <= rate <= MAX_NANOUSD:
            raise InvalidField(name, "Dollars must be from 0 to below 1000000.", value=rate)


def changes(before: Rates | None, after: Rates) -> Mapping[str, tuple[int | None, int | None]]:
    """The rates that differ, before and after."""
    old: dict[str, Any] = {} if before is None else before.given()
    new = after.given()
    names = [name for name in after.__slots__ if old.get(name) != new.get(name)]
    return {name: (old.get(name), new.get(name)) for name in names}
