"""Who runs the filler: the schedule, the command, several at once; and what `ledger_verify` says of its work."""

import threading
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction

from apps.analytics import rollups, tasks, verification
from apps.analytics.models import Bucket, Level
from apps.analytics.rollups import filling, schedule
from apps.credits.models import Entry
from tests.analytics import ledgers, rows
from tests.credits import books


@pytest.fixture
def march(monkeypatch):
    monkeypatch.setattr(filling.clock, "db_now", lambda: rows.instant("20 12:00"))


def charged(customer, at: str, credits: int) -> None:
    job = rows.job(customer, at, ({"cost": 1},))
    books.spend(customer.team, credits, job=str(job.pk))
    ledgers.date_all(Entry.objects.filter(job=str(job.pk)), rows.instant(at))


@pytest.fixture
def filled(acme, globex, march):
    ledgers.date_all(Entry.objects.all(), rows.instant("1 00:00"))
    charged(acme, "15 23:59", 3)
    charged(globex, "16 00:00", 2)
    rollups.fill()


@pytest.mark.django_db
class TestVerification:
    def test_what_was_filled_agrees_with_the_ledger(self, filled):
        assert list(verification.charges_are_those_of_the_ledger()) == []

    @pytest.mark.parametrize("level", Level)
    def test_a_row_changed_by_hand_is_found(self, filled, level):
        row = Bucket.objects.filter(level=level, charged_micros=3_000_000).get()
        Bucket.objects.filter(pk=row.pk).update(charged_micros=1)

        (found,) = verification.charges_are_those_of_the_ledger()

        assert (found.expected, found.found) == (3_000_000, 1)
        assert "2026-03-15" in found.subject

    def test_a_row_moved_to_another_team_is_found(self, filled, globex):
        Bucket.objects.filter(level=Level.TEAM, charged_micros=3_000_000).update(team=globex.team)

        assert len(list(verification.charges_are_those_of_the_ledger())) == 2

    def test_a_row_that_is_missing_is_found_and_put_right(self, filled):
        Bucket.objects.filter(level=Level.DAY).delete()
        assert len(list(verification.charges_are_those_of_the_ledger())) == 2

        call_command("rollups", "rebuild", "--from", "2026-03-15", "--to", "2026-03-16", stdout=StringIO())

        assert list(verification.charges_are_those_of_the_ledger()) == []

    def test_of_the_day_that_is_not_over_nothing_is_said(self, filled, acme):
        charged(acme, "20 11:00", 1)

        assert list(verification.charges_are_those_of_the_ledger()) == []

    def test_before_the_first_run_nothing_is_said(self, acme):
        assert list(verification.charges_are_those_of_the_ledger()) == []


@pytest.mark.django_db
class TestCommand:
    def test_fill_goes_on_until_now(self, acme, march, monkeypatch):
        monkeypatch.setattr(filling, "_PIECES_A_RUN", 1)
        ledgers.date_all(Entry.objects.all(), rows.instant("1 00:00"))
        for day in (3, 5, 9):
            rows.job(acme, f"{day} 10:00", ({},))
        out = StringIO()

        call_command("rollups", "fill", stdout=out)

        assert rollups.filled_until() == rows.instant("20 12:00")
        assert out.getvalue().endswith("up to 2026-03-20 12:00\n")

    def test_rebuild_prints_its_days(self, filled):
        out = StringIO()

        call_command("rollups", "rebuild", "--from", "2026-03-15", "--to", "2026-03-16", stdout=out)

        assert out.getvalue() == "2026-03-15\n2026-03-16\n192 quarters and 2 days filled\n"

    @pytest.mark.parametrize(
        ("days", "says"), [(("2026-03-16", "2026-03-15"), "before --from"), (("15.3.", "2026-03-16"), "no day")]
    )
    def test_rebuild_of_no_span_is_refused(self, filled, days, says):
        with pytest.raises(CommandError, match=says):
            call_command("rollups", "rebuild", "--from", days[0], "--to", days[1], stdout=StringIO())

    def test_rebuild_before_the_first_run_is_refused(self, db):
        with pytest.raises(CommandError, match="rollups fill"):
            call_command("rollups", "rebuild", "--from", "2026-03-15", "--to", "2026-03-16")


@pytest.mark.django_db
class TestSchedule:
    def test_task_fills_and_has_the_name_that_the_schedule_calls(self, acme, settings):
        tasks.fill_rollups()

        assert rollups.filled_until() is not None
        assert settings.CELERY_BEAT_SCHEDULE["rollups"]["task"] == tasks.fill_rollups.name

    @pytest.mark.parametrize("error", [DatabaseError("away"), ValueError("a defect")])
    def test_a_run_that_fails_does_not_end_the_thread(self, monkeypatch, caplog, error):
        def fail():
            raise error

        monkeypatch.setattr(schedule, "fill", fail)

        schedule.run()

        assert "rollups were not filled" in caplog.text


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
class TestSeveralAtOnce:
    def test_while_one_fills_another_does_nothing(self, acme):
        rollups.fill()
        until = rollups.filled_until()
        with transaction.atomic(), ThreadPoolExecutor(1) as other:
            assert filling._locked(filling.QUARTERS, starts_at=until) is not None
            assert other.submit(in_a_thread, rollups.fill).result().quarters == 0

        assert rollups.filled_until() == until

    def test_many_first_runs_at_once_count_all_once(self, acme):
        rows.job(acme, "15 12:00", ({}, {}))
        begin = threading.Barrier(4)

        def run():
            begin.wait()
            rollups.fill()

        with ThreadPoolExecutor(4) as others:
            for each in [others.submit(in_a_thread, run) for _ in range(4)]:
                each.result()

        while rollups.fill().is_behind:
            pass
        assert sum(Bucket.objects.filter(level=Level.TEAM).values_list("calls_succeeded", flat=True)) == 2


def in_a_thread(work):
    try:
        return work()
    finally:
        schedule.release_connection()
