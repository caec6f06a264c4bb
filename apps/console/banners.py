"""The one banner under the header: the gravest thing that concerns everybody. One query in 5 seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
from apps.core.models import Event, Process, Setting
from apps.core.short_cache import ShortCache, forget_on_change

_KEPT_S = 5.0
# How much later than its time something is before it is said.
_PATIENCE = timedelta(seconds=30)


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
    admission: Mapping[str, Any] = field(default_factory=dict)


_kept: ShortCache[Facts] = ShortCache(seconds=_KEPT_S, size=1)


def forget_cached() -> None:
    """Forget what this process has read."""
    _kept.clear()


forget_on_change(forget_cached, [Event, Setting])


def banner() -> Banner | None:
    """The gravest, None when all is well. One query at most."""
    facts = _kept.get("facts", _read)
    system = reverse("admin:system")
    if facts.differences:
        many = "difference" if facts.differences == 1 else "differences"
        return Banner("bad", f"The ledger has {facts.differences} {many}.", system, "See them")
    if facts.admission.get("is_paused"):
        who, reason = facts.admission["by"].removeprefix("operator:"), facts.admission["reason"]
        text = f"New jobs and calls are refused: admission is paused by {who}: “{reason}”."
        return Banner("bad", text, reverse("admin:admission_resume"), "Resume")
    now = clock.now()
    if facts.swept_at and now - facts.swept_at > timedelta(seconds=5 * settings.SWEEP_EVERY_S) + _PATIENCE:
        return Banner("look", "The sweeper is late: what is stuck stays stuck until it runs.", system, "See why")
    if facts.figures_until and now - facts.figures_until > STALE_AFTER + _PATIENCE:
        return Banner("look", "Figures are more than 5 minutes behind.", system, "See why")
    return None


def _read() -> Facts:
    found: dict[str, tuple[datetime, Any]] = {}
    none: Combinable = Value(None, JSONField())
    sweeps = Process.objects.order_by().filter(kind="sweeper")
    marks = Watermark.objects.order_by().filter(pk=QUARTERS)
    checks = Event.objects.filter(team_id="", kind=verification.VERIFIED).order_by("-created_at")
    last = Event.objects.order_by().filter(pk__in=checks.values("pk")[:1])
    switch = Setting.objects.order_by().filter(name=admission_switch.NAME)
    rows = (
        sweeps.values_list(Value("sweeper", CharField()), "seen_at", none)
        .union(marks.values_list(Value("figures", CharField()), "until", none), all=True)
        .union(switch.values_list(Value("admission", CharField()), "updated_at", "value"), all=True)
        .union(last.values_list(Value("ledger", CharField()), "created_at", "data"), all=True)
    )
    for name, at, data in rows:
        if name not in found or found[name][0] < at:
            found[name] = (at, data)
    ledger = found["ledger"][1] if "ledger" in found else {}
    return Facts(
        differences=int(ledger.get("differences", 0)),
        swept_at=found["sweeper"][0] if "sweeper" in found else None,
        figures_until=found["figures"][0] if "figures" in found else None,
        admission=found["admission"][1] if "admission" in found else {},
    )
