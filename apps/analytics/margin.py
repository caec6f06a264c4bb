"""What jobs earned and what they cost: revenue by the grants that paid, less what providers took.

A job counts for the instant at which it was created, with its charge and refunds whenever they were posted, so that
cost and revenue of the same work stand together. Money is in nano-dollars, times MICROS until it is shown.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Case, F, QuerySet, Sum, UUIDField, Value, When

from apps.analytics import usage
from apps.analytics.job_ids import jobs_of, joined
from apps.analytics.usage import Parts, Usage
from apps.core.money import MICROS
from apps.credits.models import Entry, Grant, GrantUse
from apps.jobs.models import Job

DIMENSIONS = {
    "job_type": "job_type",
    "team": "team__team_id",
    "organization": "organization__organization_id",
    "model": "model_groups_used__0",
}
# Whose wallet is on which side.
_ACCOUNTS = {Entry.Kind.CHARGE: "debit_account", Entry.Kind.REFUND: "credit_account"}
_SOLD = (Grant.Kind.PAID, Grant.Kind.SUBSCRIPTION)


@dataclass(slots=True)
class Revenue:
    """What was taken for jobs: credits, and money (nano-dollars times MICROS) less refunds.

    `paid_micros` are those that lots paid. `estimated_micros` count at the list price, since nobody recorded another.
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

    @property
    def nanousd(self) -> int:
        return self.money // MICROS

    def split(self, weights: list[int]) -> Iterator["Revenue"]:
        """Parts by weights that sum up to it."""
        parts = {name: usage.shares(getattr(self, name), weights) for name in _FIGURES}
        for index in range(len(weights)):
            yield Revenue(**{name: amounts[index] for name, amounts in parts.items()})


_FIGURES = tuple(each.name for each in fields(Revenue))


@dataclass(slots=True)
class Margin:
    """Jobs with what they earned."""

    usage: Usage = field(default_factory=Usage)
    revenue: Revenue = field(default_factory=Revenue)

    @property
    def revenue_nanousd(self) -> int:
        return self.revenue.nanousd

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


def by(dimension: str, *, since: datetime | None = None, until: datetime | None = None) -> dict[str, Margin]:
    """Margins of the jobs created from `since` to before `until`, by one of DIMENSIONS.

    A job of several models is split as in `usage.by_model`.
    """
    found: dict[str, Margin] = defaultdict(Margin)
    jobs = usage.between(Job.objects.all(), since, until)
    several = list(usage.parts_of_several(jobs)) if dimension == "model" else []
    lines = usage.by_model(jobs, several=several) if dimension == "model" else usage.grouped(jobs, dimension)
    for name, line in lines.items():
        found[name].usage.add(line)
    for name, revenue in _earned(dimension, since, until, several):
        found[name].revenue.add(revenue)
    return dict(found)


def total(lines: dict[str, Margin]) -> Margin:
    """The sum of groups."""
    summed = Margin()
    for line in lines.values():
        summed.add(line)
    return summed


def _earned(
    dimension: str, since: datetime | None, until: datetime | None, several: Iterable[Parts]
) -> Iterator[tuple[str, Revenue]]:
    of_jobs: dict[Any, Revenue] = {}
    for (name, job_id), revenue in _revenue(dimension, since, until).items():
        if job_id is None:
            yield name or "", revenue
        else:
            of_jobs[job_id] = revenue
    for parts, weights in several:
        revenue = of_jobs.pop(parts[0]["job"], Revenue())
        for part, share in zip(parts, revenue.split(weights), strict=True):
            yield part["model"], share


def _revenue(dimension: str, since: datetime | None, until: datetime | None) -> dict[tuple[str | None, Any], Revenue]:
    """By the dimension's value, and by job where that is of several models. Four queries: a charge and a refund have
    the wallet on different sides."""
    found: dict[tuple[str | None, Any], Revenue] = defaultdict(Revenue)
    for kind, account in _ACCOUNTS.items():
        entries = _of_jobs(Entry.objects.filter(kind=kind), account, "job", dimension, since, until)
        for name, job_id, micros in entries.annotate(Sum("amount_micros")):
            is_charge = kind == Entry.Kind.CHARGE
            found[name, job_id].add(Revenue(charged_micros=micros) if is_charge else Revenue(refunded_micros=micros))
        uses = GrantUse.objects.filter(entry__kind=kind)
        priced = _of_jobs(uses, f"entry__{account}", "entry__job", dimension, since, until).values_list(
            "group", "several", "grant__kind", "grant__price_nanousd_per_credit"
        )
        for name, job_id, grant_kind, price, micros in priced.annotate(Sum("amount_micros")):
            found[name, job_id].add(paid_by(grant_kind, price, micros))
    for revenue in found.values():
        revenue.add(owed_at_list_price(revenue))
    return found


def owed_at_list_price(revenue: Revenue) -> Revenue:
    """What no lot paid was spent on the credit line: a later grant pays it, at a price not known here."""
    owed = revenue.charged_micros - revenue.refunded_micros - revenue.paid_micros
    return Revenue(money=owed * settings.CREDIT_LIST_PRICE_NANOUSD, estimated_micros=owed)


def _of_jobs(
    rows: QuerySet[Any, Any],
    account: str,
    spelled: str,
    dimension: str,
    since: datetime | None,
    until: datetime | None,
) -> QuerySet[Any, Any]:
    """Values of rows of the ledger about jobs of that time: the dimension, and the job itself if it has several."""
    jobs = jobs_of(account)
    itself = Case(When(**{f"{jobs}__model_groups_used__1__isnull": False}, then=F(f"{jobs}__pk")))
    found = joined(
        rows,
        account,
        spelled,
        group=F(f"{jobs}__{DIMENSIONS[dimension]}"),
        several=itself if dimension == "model" else Value(None, UUIDField()),
        created=F(f"{jobs}__created_at"),
    )
    if since is not None:
        found = found.filter(created__gte=since)
    if until is not None:
        found = found.filter(created__lt=until)
    return found.values_list("group", "several")


def paid_by(kind: str, price_nanousd: int | None, micros: int) -> Revenue:
    """What credits of such a grant were worth."""
    if kind not in _SOLD:
        return Revenue(paid_micros=micros)
    if price_nanousd is None:
        return Revenue(paid_micros=micros, money=micros * settings.CREDIT_LIST_PRICE_NANOUSD, estimated_micros=micros)
    return Revenue(paid_micros=micros, money=micros * price_nanousd)
