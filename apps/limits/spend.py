"""What jobs spend and hold of their days, weeks and months: in the database, with the jobs' own money.

A job counts in the windows of its first call, which it keeps. Windows are made before its transaction and locked in
the order of their ids, so that no two admissions wait for each other.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import F, Q

from apps.core import clock
from apps.core.money import exact_credits
from apps.limits import gate, index, periods
from apps.limits.errors import SpendLimitReached
from apps.limits.gate import Passage
from apps.limits.index import Applied
from apps.limits.models import Scope, SpendWindow

# What may differ from call to call of a job.
OF_A_CALL = (Scope.KEY, Scope.MODEL)


def windows_of(passage: Passage) -> list[int]:
    """The windows that a job of this call counts in now, made if there are none yet. Outside of transactions."""
    if not passage.spends:
        return []
    instant = clock.db_now()
    wanted = {
        (
            each.scope,
            each.subject,
            each.metric,
            periods.name_at(each.metric, instant, zone_of(each, passage.time_zone)),
        ): each
        for each in passage.spends
    }
    found = _ids(wanted)
    missing = sorted(set(wanted) - set(found))
    if missing:
        SpendWindow.objects.bulk_create(
            [
                SpendWindow(
                    scope=scope,
                    subject=subject,
                    metric=metric,
                    period=period,
                    ends_at=periods.end_of(
                        metric, instant, zone_of(wanted[scope, subject, metric, period], passage.time_zone)
                    ),
                )
                for scope, subject, metric, period in missing
            ],
            ignore_conflicts=True,
        )
        found = _ids(wanted)
    return sorted(found.values())


def zone_of(limit: Applied, organizations: str) -> str:
    """The organization's own; the days of what all organizations share are those of UTC."""
    return "UTC" if limit.is_shared else organizations


def of_others(ids: Sequence[int], *, than: Sequence[int]) -> list[int]:
    """Those of these windows that are of keys and models which none of the others is of, whatever the period."""
    rows = SpendWindow.objects.filter(scope__in=OF_A_CALL, pk__in=[*ids, *than]).order_by("pk")
    found = [(pk, (scope, subject)) for pk, scope, subject in rows.values_list("pk", "scope", "subject")]
    known = {whose for pk, whose in found if pk in than}
    return [pk for pk, whose in found if pk in ids and whose not in known]


def lock(ids: Sequence[int]) -> list[SpendWindow]:
    """These windows under their row locks: after the job, before accounts."""
    return list(SpendWindow.objects.select_for_update().filter(pk__in=ids).order_by("pk"))


def post(windows: Sequence[SpendWindow], *, held_micros: int, used_micros: int) -> None:
    """Count a change of a job's hold and charge in its locked windows."""
    if not windows or not (held_micros or used_micros):
        return
    SpendWindow.objects.filter(pk__in=[window.pk for window in windows]).update(
        held_micros=F("held_micros") + held_micros, used_micros=F("used_micros") + used_micros
    )


def require_room(windows: Sequence[SpendWindow], own_micros: int, states: list[dict[str, Any]]) -> None:
    """Whether a job may hold so much more, by the limits of its locked windows as they are now.

    Notes in `states` how each stood. Raises: SpendLimitReached for the one that leaves the least.
    """
    limits = index.current()
    refused: list[tuple[int, Applied, SpendWindow]] = []
    for window in windows:
        allowed = limits.allowed(window.scope, window.subject, window.metric)
        if allowed is None:
            continue
        limit = Applied(window.scope, window.subject, window.metric, allowed)
        left = allowed - window.used_micros - window.held_micros
        admits = own_micros <= 0 or window.used_micros + window.held_micros + own_micros <= allowed
        states.append(_state(limit, window, "passed" if admits else "refused"))
        if not admits:
            refused.append((left, limit, window))
    if not refused:
        return
    left, limit, window = min(refused, key=lambda each: each[0])
    told = gate.to_customer(_state(limit, window, "refused"))
    del told["verdict"]
    of = f" {limit.shown_id}" if limit.shown_id else ""
    there = "" if limit.is_shared else f" {exact_credits(max(0, left))} credits left,"
    raise SpendLimitReached(
        f"Spend limit reached: {exact_credits(limit.allowed)} credits {_per(limit.metric)}"
        f" for {limit.scope}{of},{there} {exact_credits(own_micros)} required.",
        needed=own_micros,
        **told,
    )


def _per(metric: str) -> str:
    return metric.removeprefix("spend_").replace("_", " ")


def used_now(applied: Sequence[Applied], *, time_zone: str) -> list[tuple[int, int, datetime]]:
    """What is used and held of each limit in its present period, and when that ends. One query and the clock's."""
    instant = clock.db_now()
    keys = [
        (each.scope, each.subject, each.metric, periods.name_at(each.metric, instant, zone_of(each, time_zone)))
        for each in applied
    ]
    rows = (
        {(row.scope, row.subject, row.metric, row.period): row for row in SpendWindow.objects.filter(_named(keys))}
        if keys
        else {}
    )
    return [
        (
            rows[key].used_micros if key in rows else 0,
            rows[key].held_micros if key in rows else 0,
            periods.end_of(each.metric, instant, zone_of(each, time_zone)),
        )
        for key, each in zip(keys, applied, strict=True)
    ]


def _ids(keys: Any) -> dict[tuple[str, str, str, str], int]:
    rows = SpendWindow.objects.filter(_named(keys)).values_list("scope", "subject", "metric", "period", "pk")
    return {(scope, subject, metric, period): pk for scope, subject, metric, period, pk in rows}


def _named(keys: Any) -> Q:
    named = Q()
    for scope, subject, metric, period in keys:
        named |= Q(scope=scope, subject=subject, metric=metric, period=period)
    return named


def _state(limit: Applied, window: SpendWindow, verdict: str) -> dict[str, Any]:
    return gate.state(
        limit,
        used=window.used_micros,
        held=window.held_micros,
        resets_at=clock.iso(window.ends_at),
        verdict=verdict,
    )
