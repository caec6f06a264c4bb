"""What must hold of rollups: the credits charged in them are those of the ledger, team by team and day by day."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date

from django.db.models import F, Sum
from django.db.models.functions import TruncDate

from apps.analytics.models import Bucket, Level
from apps.analytics.rollups import day_of, filled_until
from apps.analytics.rollups.filling import LOOK_BACK
from apps.core.verification import Difference
from apps.credits.models import Entry

_OF_ALL_TEAMS = (Level.PLATFORM, Level.HOUR, Level.HOUR_IN_ALL)
_Charged = Counter[tuple[date, int | None]]


def charges_are_those_of_the_ledger() -> Iterator[Difference]:
    """Of days of UTC that are over, and so long over that nothing of them is still to be filled."""
    until = filled_until()
    if until is None:
        return
    over = day_of(until - LOOK_BACK)
    of_day = TruncDate("created_at", tzinfo=UTC)
    entries = Entry.objects.filter(kind=Entry.Kind.CHARGE, created_at__lt=over).order_by()
    expected = _summed(entries.values_list(of_day, F("debit_account__team")).annotate(Sum("amount_micros")))
    for level in Level:
        rows = Bucket.objects.filter(level=level, starts_at__lt=over).order_by()
        of_row = TruncDate("starts_at", tzinfo=UTC)
        found = _summed(rows.values_list(of_row, F("team")).annotate(Sum("charged_micros")))
        wanted = _of_platform(expected) if level in _OF_ALL_TEAMS else expected
        for day, team in sorted(wanted.keys() | found.keys(), key=str):
            if wanted[day, team] != found[day, team]:
                subject = f"day:{day} of team:{team}" if team else f"day:{day}"
                yield Difference(
                    f"rollup.charged_micros ({level.label})", subject, wanted[day, team], found[day, team]
                )


CHECKS = (charges_are_those_of_the_ledger,)


def _summed(rows: Iterable[tuple[date, int | None, int]]) -> _Charged:
    return Counter({(day, team): micros for day, team, micros in rows})


def _of_platform(charged: _Charged) -> _Charged:
    summed: _Charged = Counter()
    for (day, _), micros in charged.items():
        summed[day, None] += micros
    return summed
