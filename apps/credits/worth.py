"""What credits are worth in money, for reports: by what paid grants were sold for, else by the list price."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Sum

from apps.core.money import MICROS
from apps.credits.models import Grant


@dataclass(frozen=True, slots=True)
class Worth:
    """Nano-dollars of a whole credit. An estimate where no paid grant says."""

    nanousd_per_credit: int
    is_estimate: bool

    def of(self, micros: int) -> int:
        """Nano-dollars of so many micros, rounded down."""
        return micros * self.nanousd_per_credit // MICROS


def list_price() -> Worth:
    return Worth(settings.CREDIT_LIST_PRICE_NANOUSD, is_estimate=True)


def of_teams(teams: Iterable[int]) -> dict[int, Worth]:
    """What a credit of each team is worth, by its primary key: the average price of its paid grants. One query."""
    sold: dict[int, tuple[int, int]] = {}
    teams = list(teams)
    paid = Grant.objects.filter(
        account__team__in=teams, kind=Grant.Kind.PAID, price_nanousd_per_credit__isnull=False
    ).order_by()
    rows = paid.values_list("account__team", "price_nanousd_per_credit").annotate(Sum("amount_micros"))
    for team, price, micros in rows:
        amount, worth = sold.get(team, (0, 0))
        # Summed here: the product would not fit the database's integers.
        sold[team] = amount + micros, worth + micros * price
    unknown = list_price()
    return {
        team: Worth(sold[team][1] // sold[team][0], is_estimate=False) if team in sold else unknown for team in teams
    }
