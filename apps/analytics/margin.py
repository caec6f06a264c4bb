"""What jobs earned and what they cost: revenue by the grants that paid, less what providers took.

A job counts for the instant at which it was created, with its charge and refunds whenever they were posted, so that
cost and revenue of the same work stand together. Money is in nano-dollars, times MICROS until it is shown.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from django.conf import settings
from django.db.models import F, QuerySet, Sum

from apps.analytics import usage
from apps.analytics.job_ids import job_key, of_job
from apps.analytics.usage import Jobs, Usage
from apps.core.ids import parse_uuid
from apps.core.money import MICROS
from apps.credits.models import Entry, Grant, GrantUse

DIMENSIONS = {
    "job_type": "job_type",
    "team": "team__team_id",
    "organization": "organization__organization_id",
    "model": "model_groups_used",
}
_CHARGES = (Entry.Kind.CHARGE, Entry.Kind.REFUND)
_SOLD = (Grant.Kind.PAID, Grant.Kind.SUBSCRIPTION)


@dataclass(slots=True)
class Revenue:
    """What was taken for jobs: credits less refunds, and money (nano-dollars times MICROS).

    `estimated_micros` are credits whose price nobody recorded: they count at the list price.
    """

    charged_micros: int = 0
    refunded_micros: int = 0
    paid_micros: int = 0
    money: int = 0
    estimated_micros: int = 0

    def add(self, other: "Revenue") -> None:
        """Count another's in."""
        for name in _FIGURES:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_FIGURES = tuple(each.name for each in fields(Revenue))


@dataclass(slots=True)
class Margin:
    """Jobs with what they earned."""

    usage: Usage = field(default_factory=Usage)
    revenue: Revenue = field(default_factory=Revenue)

    @property
    def revenue_nanousd(self) -> int:
        return self.revenue.money // MICROS

    @property
    def margin_nanousd(self) -> int:
        return self.revenue_nanousd - self.usage.provider_cost_nanousd - self.usage.lost_cost_nanousd

    @property
    def margin_basis_points(self) -> int | None:
        """Of the revenue, rounded down; None without any."""
        revenue = self.revenue_nanousd
        return self.margin_nanousd * 10_000 // revenue if revenue > 0 else None

    def add(self, other: "Margin") -> None:
        """Count another's in."""
        self.usage.add(other.usage)
        self.revenue.add(other.revenue)


def by(jobs: Jobs, dimension: str) -> dict[str, Margin]:
    """Margins by one of DIMENSIONS. A job of several models is split as in `usage.by_model`."""
    found: dict[str, Margin] = defaultdict(Margin)
    for name, line in usage.grouped(jobs, dimension).items():
        found[name].usage.add(line)
    earned = _by_model(jobs) if dimension == "model" else _grouped(jobs, of_job(DIMENSIONS[dimension]))
    for name, revenue in earned:
        found[name].revenue.add(revenue)
    return dict(found)


def total(lines: dict[str, Margin]) -> Margin:
    """The sum of groups."""
    summed = Margin()
    for line in lines.values():
        summed.add(line)
    return summed


def _by_model(jobs: Jobs) -> Iterator[tuple[str, Revenue]]:
    for names, revenue in _grouped(jobs.filter(model_groups_used__1__isnull=True), of_job("model_groups_used")):
        yield (names[0] if names else ""), revenue
    several = jobs.filter(model_groups_used__1__isnull=False)
    of_jobs = {parse_uuid(key): revenue for key, revenue in _grouped(several, F("job_key"))}
    for parts, weights in usage.parts_of_several(jobs):
        revenue = of_jobs.get(parts[0]["job"], Revenue())
        split = {name: usage.shares(getattr(revenue, name), weights) for name in _FIGURES}
        for index, part in enumerate(parts):
            yield part["model"], Revenue(**{name: amounts[index] for name, amounts in split.items()})


def _grouped(jobs: Jobs, group: Any) -> Iterator[tuple[Any, Revenue]]:
    """Revenue of jobs by an expression on their charges and refunds. Two queries."""
    found: dict[Any, tuple[Any, Revenue]] = {}

    def line(name: Any) -> Revenue:
        # Lists are no keys.
        return found.setdefault(str(name), (name, Revenue()))[1]

    charges = _of_jobs(Entry.objects.filter(kind__in=[Entry.Kind.CHARGE, Entry.Kind.REFUND]), "job", jobs)
    for name, kind, micros in (
        charges.annotate(group=group).values_list("group", "kind").annotate(Sum("amount_micros"))
    ):
        if kind == Entry.Kind.CHARGE:
            line(name).charged_micros += micros
        else:
            line(name).refunded_micros += micros
    uses = _of_jobs(GrantUse.objects.filter(entry__kind__in=_CHARGES), "entry__job", jobs)
    priced = uses.annotate(group=group).values_list("group", "grant__kind", "grant__price_nanousd_per_credit")
    for name, kind, price, micros in priced.annotate(Sum("amount_micros")):
        revenue = line(name)
        revenue.paid_micros += micros
        if kind in _SOLD:
            revenue.money += micros * (settings.CREDIT_LIST_PRICE_NANOUSD if price is None else price)
            revenue.estimated_micros += micros if price is None else 0
    for name, revenue in found.values():
        # What no lot paid was spent on the credit line: a later grant pays it, at a price not known here.
        owed = revenue.charged_micros - revenue.refunded_micros - revenue.paid_micros
        revenue.money += owed * settings.CREDIT_LIST_PRICE_NANOUSD
        revenue.estimated_micros += owed
        yield name, revenue


def _of_jobs(rows: QuerySet[Any, Any], spelled: str, jobs: Jobs) -> QuerySet[Any, Any]:
    """Rows of the ledger that are about these jobs."""
    keyed: QuerySet[Any, Any] = rows.order_by().annotate(job_key=job_key(spelled))
    return keyed.filter(job_key__in=jobs.order_by().values("pk"))
