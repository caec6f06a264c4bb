"""The database's clock decides; ours is only shown."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from apps.core import clock
from apps.core.models import Process


@pytest.fixture(autouse=True)
def _no_process_of_others(db: None) -> None:
    """The reader of replies that an earlier test of this process began says that it lives, now and then."""
    Process.objects.all().delete()


@pytest.mark.parametrize("seconds", [0, 1.5, -1.5, 86_400, -0.001])
def test_instant_from_now_is_that_of_the_database(db: None, seconds: float):
    Process.objects.create(name="p", kind="web", seen_at=clock.from_now(seconds))

    seen_at = Process.objects.get().seen_at

    assert abs((seen_at - clock.db_now()).total_seconds() - seconds) < 1


def test_wrong_clock_of_ours_changes_nothing(db: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clock.timezone, "now", lambda: datetime(1999, 1, 1, tzinfo=UTC))
    Process.objects.create(name="p", kind="web", seen_at=clock.from_now(60))

    assert Process.objects.filter(seen_at__gt=clock.from_now(50), seen_at__lt=clock.from_now(70)).exists()


def test_database_s_instant_knows_its_zone(db: None):
    assert clock.db_now().utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (None, None),
        (datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC), "2026-01-02T03:04:05.678Z"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05.000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T01:04:05.000Z"),
    ],
)
def test_instants_on_the_wire_are_utc_ending_in_z(instant: datetime | None, text: str | None):
    assert clock.iso(instant) == text
