"""What the dashboard was asked for: a range and filters, in the URL under the names that the lists use."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone

from apps.analytics import ranges
from apps.analytics.figures import Filters
from apps.analytics.ranges import Preset, Range
from apps.core import clock, settings_store
from apps.core.errors import InvalidField
from apps.organizations.models import Organization
from apps.teams.models import Team

DEFAULT = Preset.WEEK
WORDS = {
    Preset.DAY: "24 hours",
    Preset.WEEK: "7 days",
    Preset.MONTH: "30 days",
    Preset.QUARTER: "90 days",
}
KEPT = ("range", "from", "to", "compare", "organization", "team", "type", "model")
# Which lists know which filters besides organization, team and time.
_OF_LIST = {
    "admin:jobs_job_changelist": ("type", "model"),
    "admin:jobs_call_changelist": ("model",),
    "admin:limits_decision_changelist": ("model",),
}
_WHEN_ENDED = {"admin:jobs_job_changelist": "closed_", "admin:jobs_call_changelist": "ended_"}


@dataclass(frozen=True, slots=True)
class Asked:
    """`given` is what of the query string was understood, `problems` says what was not."""

    span: Range
    filters: Filters
    given: Mapping[str, str]
    problems: list[str] = field(default_factory=list)

    @property
    def preset(self) -> str:
        """Empty for a custom range."""
        return "" if "from" in self.given else self.given.get("range", DEFAULT)

    @property
    def is_compared(self) -> bool:
        return self.given.get("compare") != "no"

    @property
    def words(self) -> str:
        """The range, as completes "in the …"."""
        if self.preset:
            return f"last {WORDS[Preset(self.preset)]}"
        return f"{self.given['from']} to {self.given['to']}"

    def query(self, **changes: str | None) -> str:
        """The query string with these changed; None drops one."""
        wanted = {**self.given, **changes}
        return urlencode({name: value for name, value in wanted.items() if value})

    def rows(self, route: str, since: datetime | None = None, until: datetime | None = None, **more: str) -> str:
        """A list's address with the rows behind a figure: the same filters, and the instants of the span or bar."""
        known = ("organization", "team", *_OF_LIST.get(route, ()))
        wanted: dict[str, str] = {name: self.given[name] for name in known if name in self.given}
        # Jobs and calls are counted when they end: their lists are asked for that, whenever they began.
        prefix = _WHEN_ENDED.get(route, "")
        wanted[f"{prefix}from"] = clock.iso(since or self.span.since) or ""
        wanted[f"{prefix}to"] = clock.iso(until or self.span.until) or ""
        if prefix:
            wanted["range"] = "all"
        return f"{reverse(route)}?{urlencode(wanted | more)}"

    def bars(self, route: str, **more: str) -> list[str]:
        """One address for each point of the span."""
        ends = [*self.span.points[1:], self.span.until]
        return [self.rows(route, since, until, **more) for since, until in zip(self.span.points, ends, strict=True)]


def read(given: QueryDict) -> Asked:
    """The range and filters; what means nothing is said and left out. One query for each of organization and team."""
    kept: dict[str, str] = {}
    problems: list[str] = []
    span = _span(given, kept, problems)
    wanted: dict[str, Any] = {"organization": None, "team": None, "job_type": None, "model": None}
    for name, find in (("organization", _organization), ("team", _team)):
        value = given.get(name, "").strip()
        if value:
            wanted[name] = None if "\x00" in value else find(value)
            if wanted[name] is None:
                problems.append(f"There is no {name} {value[:60]!r}.")
            else:
                kept[name] = value
    for name, column in (("type", "job_type"), ("model", "model")):
        value = given.get(name, "").strip()
        if value and "\x00" not in value and len(value) <= 255:
            wanted[column] = kept[name] = value
    if given.get("compare") == "no":
        kept["compare"] = "no"
    return Asked(span, Filters(**wanted), kept, problems)


def _span(given: QueryDict, kept: dict[str, str], problems: list[str]) -> Range:
    zone = settings_store.get("reporting_time_zone")
    # Only to be shown, so this process's clock will do.
    now = clock.now()
    first, last = given.get("from", "").strip(), given.get("to", "").strip()
    if first or last:
        today = timezone.localdate(now)
        try:
            span = ranges.of_days(_day(first, today), _day(last, today), zone, now=now)
            kept |= {"from": first or str(today), "to": last or str(today)}
            return span
        except InvalidField as error:
            problems.append(error.message)
        except (ValueError, OverflowError):
            problems.append(f"A range is of days such as 2026-11-24, not {(first or last)[:40]!r}.")
    asked = given.get("range", "").strip()
    if asked in list(Preset):
        kept["range"] = asked
    elif asked:
        problems.append(f"There is no range {asked[:40]!r}.")
    return ranges.of_preset(Preset(kept.get("range", DEFAULT)), zone, now=now)


def _day(text: str, today: date) -> date:
    return date.fromisoformat(text) if text else today


def _organization(value: str) -> int | None:
    return Organization.objects.filter(organization_id=value).values_list("pk", flat=True).first()


def _team(value: str) -> int | None:
    return Team.objects.filter(team_id=value).values_list("pk", flat=True).first()
