"""The one banner under the header: the gravest thing that concerns everybody. Read in one query, twice a minute."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import CharField, JSONField, Value
from django.db.models.expressions import Combinable
from django.urls import reverse

from apps.analytics.machine_room import STALE_AFTER
from apps.analytics.models import Watermark
from apps.analytics.rollups.filling import QUARTERS
from apps.core import admission_switch, clock, verification
from apps.core.models import Event, Process
from apps.core.short_cache import ShortCache, forget_on_change

_KEPT_S = 30.0


@dataclass(frozen=True, slots=True)
class Banner:
    """`look` is bad or look; the link leads to where it is dealt with."""

    look: str
    text: str
    url: str
    link: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database says. None: it never was."""

    differences: int = 0
    swept_at: datetime | None = None
    figures_until: datetime | None = None


_kept: ShortCache[Facts] = ShortCache(seconds=_KEPT_S, size=1)


def forget_cached() -> None:
    """Forget what this process has read."""
    _kept.clear()


forget_on_change(forget_cached, [Event])


def banner() -> Banner | None:
    """The gravest, None when all is well. One query at most, and the switch's."""
    facts = _kept.get("facts", _read)
    system = reverse("admin:system")
    if facts.differences:
        many = "difference" if facts.differences == 1 else "differences"
        return Banner("bad", f"The ledger has {facts.differences} {many}.", system, "See them")
    switch = admission_switch.current()
    if switch.is_paused:
        who = switch.by.removeprefix("operator:")
        text = f"New jobs and calls are refused: admission is paused by {who}: “{switch.reason}”."
        return Banner("bad", text, reverse("admin:admission_resume"), "Resume")
    now = clock.now()
    if facts.swept_at and now - facts.swept_at > timedelta(seconds=max(60.0, 5 * settings.SWEEP_EVERY_S) + _KEPT_S):
        return Banner("look", "The sweeper is late: what is stuck stays stuck until it runs.", system, "See why")
    if facts.figures_until and now - facts.figures_until > STALE_AFTER + timedelta(seconds=_KEPT_S):
        return Banner("look", "Figures are more than 5 minutes behind.", system, "See why")
    return None


def _read() -> Facts:
    found: dict[str, tuple[datetime, Any]] = {}
    none: Combinable = Value(None, JSONField())
    sweeps = Process.objects.order_by().filter(kind="sweeper")
    marks = Watermark.objects.order_by().filter(pk=QUARTERS)
    checks = Event.objects.filter(team_id="", kind=verification.VERIFIED).order_by("-created_at")
    last = Event.objects.order_by().filter(pk__in=checks.values("pk")[:1])
    rows = (
        sweeps.values_list(Value("sweeper", CharField()), "seen_at", none)
        .union(marks.values_list(Value("figures", CharField()), "until", none), all=True)
        .union(last.values_list(Value("ledger", CharField()), "created_at", "data"), all=True)
    )
    for name, at, data in rows:
        if name not in found or found[name][0] < at:
            found[name] = (at, data)
    ledger = found.get("ledger", (None, None))[1] or {}
    return Facts(
        differences=int(ledger.get("differences", 0)),
        swept_at=found["sweeper"][0] if "sweeper" in found else None,
        figures_until=found["figures"][0] if "figures" in found else None,
    )
