"""Which limits a call would meet, and what of each is used and held now."""

from datetime import timedelta
from typing import Any

from apps.core import clock
from apps.limits import gate, index, spend
from apps.limits.index import Applied
from apps.limits.models import Metric
from apps.teams.models import Team


def limits(team: Team, *, key_id: str, model: str, user_id: str) -> list[dict[str, Any]]:
    """The limits on the way of such a call, from the platform's to its user's. Rates that cannot be told are None."""
    applied = index.current().applying(team, key_id=key_id, model=model, user_id=user_id)
    rates = [each for each in applied if each.is_rate]
    spends = [each for each in applied if not each.is_rate]
    shown: dict[Applied, dict[str, Any]] = {}
    for limit, used in zip(rates, gate.look(rates) if rates else [], strict=True):
        is_lease = limit.metric == Metric.CALLS
        shown[limit] = gate.state(
            limit,
            used=0 if is_lease else used,
            held=used if is_lease else 0,
            resets_at=None if is_lease or not used else clock.iso(clock.now() + timedelta(minutes=1)),
            verdict="",
        )
    in_windows = spend.used_now(spends, time_zone=team.organization.time_zone)
    for limit, (used_micros, held_micros, ends_at) in zip(spends, in_windows, strict=True):
        shown[limit] = gate.state(limit, used=used_micros, held=held_micros, resets_at=clock.iso(ends_at), verdict="")
    return [{name: value for name, value in shown[each].items() if name != "verdict"} for each in applied]
