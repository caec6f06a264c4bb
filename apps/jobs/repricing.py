"""What past calls would have cost at other prices. Nothing is written: a call keeps what it was settled at."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Lower

from apps.catalog.price_models import PriceSource
from apps.catalog.rates import Rates
from apps.core import clock
from apps.jobs.models import Call


@dataclass(slots=True)
class Repriced:
    """Calls of a provider model, what they cost, and what they would have cost, in nano-dollars."""

    calls: int = 0
    cost_nanousd: int = 0
    new_cost_nanousd: int = 0


def last_days(rates: Mapping[str, Rates], *, days: int) -> dict[str, Repriced]:
    """By provider model (in lower case), of the calls of so many days that it served.

    Those of aliases with prices of their own are left out, since no dated price touches them. Images are not counted.
    Calls without classes are added up by the database, the others one by one; one rounding a sum.
    """
    found = {model: Repriced() for model in rates}
    calls = (
        Call.objects.annotate(model=Lower("provider_model"))
        .filter(
            Q(prompt_tokens__gt=0) | Q(completion_tokens__gt=0),
            model__in=list(rates),
            created_at__gte=clock.from_now(-timedelta(days=days).total_seconds()),
        )
        .exclude(price_source=PriceSource.ALIAS)
        .order_by()
    )
    for row in _sums(calls.filter(usage_classes__isnull=True)):
        tokens = {"input": row["prompt"], "output": row["completion"]}
        _count(found[row["model"]], rates[row["model"]], tokens, row["calls"], row["cost"])
    with_classes = calls.filter(usage_classes__isnull=False)
    for model, classes, cost in with_classes.values_list(
        "model", "usage_classes", "provider_cost_nanousd"
    ).iterator():
        _count(found[model], rates[model], classes or {}, 1, cost)
    return {model: each for model, each in found.items() if each.calls}


def _sums(calls: QuerySet[Any]) -> Iterable[dict[str, Any]]:
    sums: Iterable[dict[str, Any]] = calls.values("model").annotate(
        calls=Count("pk"),
        prompt=Sum("prompt_tokens"),
        completion=Sum("completion_tokens"),
        cost=Sum("provider_cost_nanousd"),
    )
    return sums


def _count(found: Repriced, rates: Rates, tokens: Mapping[str, int], calls: int, cost_nanousd: int) -> None:
    found.calls += calls
    found.cost_nanousd += cost_nanousd
    found.new_cost_nanousd += rates.cost_nanousd(tokens, requests=calls)
