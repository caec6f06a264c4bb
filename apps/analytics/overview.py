"""The whole platform at a glance: how many customers there are, and what they have left."""

from dataclasses import dataclass

from django.db.models import F, Q, QuerySet, Sum

from apps.catalog.models import ModelGroup
from apps.credits.models import Account
from apps.organizations.models import Organization
from apps.teams.models import Team


@dataclass(frozen=True, slots=True)
class Credits:
    """Sums over accounts, in micros. `remaining` can be spent."""

    allocated_micros: int
    used_micros: int
    remaining_micros: int


@dataclass(frozen=True, slots=True)
class Overview:
    organizations: int
    teams: int
    model_groups: int
    credits: Credits


@dataclass(frozen=True, slots=True)
class Utilization:
    """How much of what they were given teams have left: more than half, a fifth or more, less."""

    teams: int
    credits: Credits
    healthy: int
    warning: int
    critical: int
    needing_attention: list[Account]


# More than half left, and less than a fifth: products of integers, so that nothing is rounded.
_HEALTHY = Q(allocated_micros__lt=F("left_micros") * 2)
_CRITICAL = Q(allocated_micros__gt=F("left_micros") * 5)


def overview() -> Overview:
    """Organizations, teams that are not closed, and the credits of all pools and wallets."""
    return Overview(
        organizations=Organization.objects.count(),
        teams=Team.objects.exclude(status=Team.Status.CLOSED).count(),
        model_groups=ModelGroup.objects.count(),
        credits=_credits(Account.objects.exclude(kind=Account.Kind.SYSTEM)),
    )


def utilization(*, at_most: int) -> Utilization:
    """Of all teams' general wallets that were ever given credits; with the emptiest of those that are low."""
    wallets = Account.objects.filter(kind=Account.Kind.WALLET, restriction="", allocated_micros__gt=0).annotate(
        left_micros=F("posted_micros") - F("held_micros")
    )
    low = wallets.exclude(_HEALTHY).select_related("team").order_by("left_micros", "team__team_id")
    total, healthy = wallets.count(), wallets.filter(_HEALTHY).count()
    critical = wallets.filter(_CRITICAL).count()
    return Utilization(
        teams=total,
        credits=_credits(wallets),
        healthy=healthy,
        warning=total - healthy - critical,
        critical=critical,
        needing_attention=list(low[:at_most]),
    )


def _credits(accounts: QuerySet[Account, Account]) -> Credits:
    sums = accounts.aggregate(
        allocated=Sum("allocated_micros"),
        used=Sum("used_micros"),
        posted=Sum("posted_micros"),
        held=Sum("held_micros"),
    )
    allocated, used, posted, held = (sums[name] or 0 for name in ("allocated", "used", "posted", "held"))
    return Credits(allocated, used, posted - held)
