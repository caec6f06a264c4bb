"""Ranges begin and end where the zone's hours and days do, and what is before is as long."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from apps.analytics import ranges
from apps.analytics.ranges import Grain, Preset
from apps.core.errors import InvalidField


@pytest.fixture
def at(monkeypatch):
    def set_clock(text: str):
        monkeypatch.setattr(ranges.clock, "db_now", lambda: datetime.fromisoformat(text + "+00:00"))

    set_clock("2026-03-20T12:07:00")
    return set_clock


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_day_is_96_quarters(at):
    span = ranges.of_preset(Preset.DAY, "Europe/Berlin")

    assert (span.grain, len(span.points)) == (Grain.QUARTER, 96)
    assert (span.since, span.until) == (instant("2026-03-19T12:15"), instant("2026-03-20T12:15"))
    assert (span.before_since, span.before_until) == (instant("2026-03-18T12:15"), instant("2026-03-19T12:15"))


def test_a_week_is_168_hours_of_the_zone(at):
    span = ranges.of_preset(Preset.WEEK, "Asia/Kathmandu")

    assert (span.grain, len(span.points)) == (Grain.HOUR, 168)
    # 17:52 there: the hour ends at 18:00, which is 12:15 in UTC.
    assert span.until == instant("2026-03-20T12:15")


@pytest.mark.parametrize(("preset", "days"), [(Preset.MONTH, 30), (Preset.QUARTER, 90)])
def test_longer_ones_are_days_of_the_zone_with_today(at, preset, days):
    span = ranges.of_preset(preset, "Europe/Berlin")

    assert (span.grain, len(span.points)) == (Grain.DAY, days)
    assert span.until == instant("2026-03-20T23:00")


def test_before_is_as_long_as_what_has_passed(at):
    span = ranges.of_preset(Preset.MONTH, "UTC")

    assert span.before_since == instant("2026-01-20T00:00")
    assert span.before_until - span.before_since == instant("2026-03-20T13:00") - span.since


def test_days_are_23_and_25_hours_long_where_clocks_change(at):
    span = ranges.of_days(date(2026, 3, 28), date(2026, 3, 30), "Europe/Berlin")
    lengths = [until - since for since, until in zip(span.points, (*span.points[1:], span.until), strict=True)]

    assert lengths == [timedelta(hours=24), timedelta(hours=23), timedelta(hours=24)]
    assert {point.astimezone(ZoneInfo("Europe/Berlin")).hour for point in span.points} == {0}


def test_every_instant_has_its_point(at):
    span = ranges.of_days(date(2026, 3, 1), date(2026, 3, 3), "UTC")

    places = [span.point_of(instant(text)) for text in ("2026-02-28T23:59", "2026-03-01T00:00", "2026-03-03T23:59")]

    assert places == [-1, 0, 2]


@pytest.mark.parametrize(("first", "last"), [("2026-03-02", "2026-03-01"), ("2020-01-01", "2026-03-01")])
def test_spans_that_are_none_or_too_long_are_refused(at, first, last):
    with pytest.raises(InvalidField):
        ranges.of_days(date.fromisoformat(first), date.fromisoformat(last), "UTC")
