"""B17: days, weeks and months are those of the organization's calendar, and nothing has to reset them."""

from datetime import UTC, datetime

import pytest

from apps.core import clock
from apps.core.errors import InvalidField
from apps.core.models import AuditEntry
from apps.limits import periods
from apps.limits.errors import SpendLimitReached
from apps.limits.models import Metric, SpendWindow
from apps.organizations import services as organizations
from tests import make
from tests.limits import limiting

DAY, WEEK, MONTH = Metric.SPEND_DAY, Metric.SPEND_WEEK, Metric.SPEND_MONTH


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "metric", "instant", "name", "end"),
    [
        ("UTC", DAY, "2026-11-24T23:59:59", "2026-11-24", "2026-11-25T00:00"),
        # Nine hours ahead: its day begins at 15:00 of UTC.
        ("Asia/Tokyo", DAY, "2026-11-24T14:59:59", "2026-11-24", "2026-11-24T15:00"),
        ("Asia/Tokyo", DAY, "2026-11-24T15:00:00", "2026-11-25", "2026-11-25T15:00"),
        ("Asia/Tokyo", MONTH, "2026-11-30T15:00:00", "2026-12", "2026-12-31T15:00"),
        ("America/Los_Angeles", DAY, "2026-11-24T07:59:59", "2026-11-23", "2026-11-24T08:00"),
        # Its clocks go forward on 8 March 2026 and back on 1 November: those days have 23 and 25 hours.
        ("America/Los_Angeles", DAY, "2026-03-08T08:00:00", "2026-03-08", "2026-03-09T07:00"),
        ("America/Los_Angeles", DAY, "2026-11-01T07:00:00", "2026-11-01", "2026-11-02T08:00"),
        ("America/Los_Angeles", DAY, "2026-11-02T07:59:59", "2026-11-01", "2026-11-02T08:00"),
        # Clocks that jump over midnight itself: the day begins at one o'clock.
        ("Africa/Cairo", DAY, "2026-04-23T21:59:59", "2026-04-23", "2026-04-23T22:00"),
        # Weeks begin on Monday, and belong to the year of their Thursday.
        ("UTC", WEEK, "2026-11-22T23:59:59", "2026-W47", "2026-11-23T00:00"),
        ("UTC", WEEK, "2026-11-23T00:00:00", "2026-W48", "2026-11-30T00:00"),
        ("UTC", WEEK, "2027-01-03T12:00:00", "2026-W53", "2027-01-04T00:00"),
        ("UTC", WEEK, "2024-12-30T12:00:00", "2025-W01", "2025-01-06T00:00"),
        ("Asia/Tokyo", WEEK, "2026-11-22T15:00:00", "2026-W48", "2026-11-29T15:00"),
        ("America/Los_Angeles", WEEK, "2026-11-23T07:59:59", "2026-W47", "2026-11-23T08:00"),
        ("UTC", MONTH, "2026-12-31T23:59:59", "2026-12", "2027-01-01T00:00"),
        ("UTC", MONTH, "2028-02-29T12:00:00", "2028-02", "2028-03-01T00:00"),
        ("America/Los_Angeles", MONTH, "2026-11-01T06:59:59", "2026-10", "2026-11-01T07:00"),
    ],
)
def test_b17_a_period_is_the_calendar_s_of_its_zone(zone: str, metric: str, instant: str, name: str, end: str):
    assert periods.name_at(metric, utc(instant), zone) == name
    assert periods.end_of(metric, utc(instant), zone) == utc(end)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles", "Africa/Cairo", "Asia/Kathmandu"])
@pytest.mark.parametrize("metric", [DAY, WEEK, MONTH])
def test_b17_a_period_ends_where_the_next_begins(zone: str, metric: str):
    instant = utc("2026-01-01T12:00")
    while instant < utc("2027-03-01T00:00"):
        end = periods.end_of(metric, instant, zone)
        just_before = datetime.fromtimestamp(end.timestamp() - 1, UTC)
        assert periods.name_at(metric, just_before, zone) == periods.name_at(metric, instant, zone)
        assert periods.name_at(metric, end, zone) != periods.name_at(metric, instant, zone)
        instant = end


def test_b17_a_spend_limit_begins_anew_at_the_organization_s_midnight(customer, monkeypatch):
    organizations.set_time_zone(customer.organization, "Asia/Tokyo", actor=make.TESTER)
    limiting.limit("team", "acme", "spend_per_day", 1)
    now = utc("2026-11-24T14:59:59")
    monkeypatch.setattr(clock, "db_now", lambda: now)
    limiting.call(customer, "Before midnight in Tokyo")
    with pytest.raises(SpendLimitReached) as refused:
        limiting.call(customer, "Too much of that day")
    assert refused.value.details["resets_at"] == "2026-11-24T15:00:00.000Z"

    now = utc("2026-11-24T15:00:00")
    limiting.call(customer, "After midnight in Tokyo, the afternoon in Greenwich")

    assert list(SpendWindow.objects.order_by("period").values_list("period", "held_micros")) == [
        ("2026-11-24", 1_000_000),
        ("2026-11-25", 1_000_000),
    ]


def test_b17_the_platform_s_days_are_those_of_greenwich(customer, monkeypatch):
    organizations.set_time_zone(customer.organization, "Asia/Tokyo", actor=make.TESTER)
    limiting.limit("platform", "", "spend_per_day", 10)
    limiting.limit("team", "acme", "spend_per_day", 10)
    monkeypatch.setattr(clock, "db_now", lambda: utc("2026-11-24T16:00:00"))

    limiting.call(customer)

    assert set(SpendWindow.objects.values_list("scope", "period")) == {
        ("platform", "2026-11-24"),
        ("team", "2026-11-25"),
    }


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "Europe", "a\x00b", "x" * 99]
)
def test_b17_a_time_zone_is_one_that_exists(db, name: str):
    organization = make.organization()
    with pytest.raises(InvalidField):
        organizations.set_time_zone(organization, name, actor=make.TESTER)


def test_b17_a_changed_time_zone_is_audited_once(db):
    organization = make.organization("tokyo")
    for _ in range(2):
        organizations.set_time_zone(organization, "Asia/Tokyo", actor=make.TESTER)
    changes = AuditEntry.objects.filter(action="organization.time_zone")
    assert [(row.object_id, row.before, row.after) for row in changes] == [
        ("tokyo", {"time_zone": "UTC"}, {"time_zone": "Asia/Tokyo"})
    ]
