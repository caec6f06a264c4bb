"""What needs somebody is said when it is so, and not otherwise."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.analytics import attention, machine_room, rollups
from apps.analytics.attention import Item, Kind
from apps.core.models import Process
from apps.credits.models import Account, Entry
from apps.jobs.models import Call, Job
from apps.virtual_keys import services as virtual_keys
from tests import make
from tests.analytics import rows
from tests.credits import books

pytestmark = pytest.mark.django_db
transactional = pytest.mark.django_db(transaction=True)


def recent(customer, *, credits=0, minutes=30, **fields) -> Job:
    """A job of just now."""
    job = rows.job(customer, "15", ({"cost": fields.pop("cost", 0), "price_source": fields.pop("source", "dated")},))
    ended = timezone.now() - timedelta(minutes=minutes)
    Call.objects.filter(job=job).update(ended_at=ended)
    Job.objects.filter(pk=job.pk).update(completed_at=ended, **fields)
    if credits:
        books.spend(customer.team, credits, job=str(job.pk))
    return job


def test_nothing_needs_anybody(acme):
    recent(acme, credits=1, cost=1)
    rollups.fill()

    assert attention.needs_you() == []


@transactional
def test_the_ledgers_last_verification_is_what_counts(acme):
    Account.objects.filter(pk=books.wallet(acme.team).pk).update(held_micros=7)
    with pytest.raises(SystemExit):
        call_command("ledger_verify")
    assert list(attention.ledger_differs()) == [Item(Kind.LEDGER_DIFFERS, 1, 1, ())]

    Account.objects.filter(pk=books.wallet(acme.team).pk).update(held_micros=0)
    call_command("ledger_verify")

    assert list(attention.ledger_differs()) == []
    assert machine_room.ledger_state().differences == 0


def test_a_call_that_waits_for_long(acme):
    job = rows.job(acme, "15", ({"state": "queued"},), status="in_progress")
    call = job.calls.get()
    Call.objects.filter(pk=call.pk).update(created_at=timezone.now() - timedelta(seconds=95))

    (item,) = attention.call_waits()

    assert (item.count, item.ids) == (1, (str(call.pk),))
    assert 94 <= item.amount < 200
    Call.objects.filter(pk=call.pk).update(created_at=timezone.now())
    assert list(attention.call_waits()) == []


def test_models_without_a_price(acme):
    recent(acme, source="none")
    rollups.fill()

    assert list(attention.models_unpriced()) == [Item(Kind.MODELS_UNPRICED, 1, 1, ("chat",))]


@pytest.mark.parametrize(
    ("spent", "kind"), [(79, None), (80, Kind.TEAMS_LOW), (89, Kind.TEAMS_LOW), (90, Kind.TEAMS_CRITICAL)]
)
def test_teams_run_low_at_a_fifth_and_a_tenth(acme, spent, kind):
    """Held credits are not there to spend."""
    books.hold(acme.team, spent, job="x")

    found = list(attention.teams_run_low())

    # `allocated` stays what it was: what is left is 100 less what is held.
    assert found == ([Item(kind, 1, 0, ("acme",))] if kind else [])


def test_closed_teams_run_not_low(acme):
    books.hold(acme.team, 95, job="x")
    type(acme.team).objects.filter(pk=acme.team.pk).update(status="closed")

    assert list(attention.teams_run_low()) == []


def test_uncollected_amounts_of_a_month(acme, globex):
    recent(acme, uncollected_micros=3)
    recent(globex, uncollected_micros=5)
    recent(globex, uncollected_micros=100, minutes=60 * 24 * 40)

    assert list(attention.uncollected()) == [Item(Kind.UNCOLLECTED, 2, 8, ("globex", "acme"))]


def test_job_types_with_negative_margin(acme, settings):
    settings.CREDIT_LIST_PRICE_NANOUSD = 1_000
    recent(acme, credits=1, cost=1_500)
    rollups.fill()

    assert list(attention.margin_is_negative()) == [Item(Kind.MARGIN_NEGATIVE, 1, 500, ("query",))]


def test_grants_that_expire_within_two_weeks(acme):
    for key, days in (("soon", 13), ("later", 15)):
        books.give(acme.team, 5, key=key, expires_at=timezone.now() + timedelta(days=days))

    assert list(attention.grants_expire()) == [Item(Kind.GRANTS_EXPIRE, 1, 5_000_000, ("acme",))]


def test_keys_that_expire_within_a_week(acme):
    for days in (6, 8):
        expires_at = timezone.now() + timedelta(days=days)
        virtual_keys.issue(acme.team, actor=make.TESTER, name=f"{days}", expires_at=expires_at)
    assert list(attention.keys_expire()) == [Item(Kind.KEYS_EXPIRE, 1, 1, ("acme",))]

    acme.team.keys.update(revoked_at=timezone.now())

    assert list(attention.keys_expire()) == []


def test_each_check_takes_two_queries_at_most(acme):
    books.hold(acme.team, 95, job="x")
    rows.job(acme, "15", ({"state": "queued"},), status="in_progress")
    for check in attention.CHECKS:
        with CaptureQueriesContext(connection) as captured:
            list(check())
        assert len(captured) <= 2, check


class TestMachineRoom:
    def test_what_is_at_work(self, acme):
        states = ("queued", "queued", "running")
        job = rows.job(acme, "15", tuple({"state": state} for state in states), status="in_progress")
        oldest = job.calls.filter(state="queued").first()
        Call.objects.update(created_at=timezone.now())
        Call.objects.filter(pk=oldest.pk).update(created_at=timezone.now() - timedelta(seconds=40))
        Process.objects.create(name="worker-1", kind="worker")
        Process.objects.create(name="worker-2", kind="worker", seen_at=timezone.now() - timedelta(minutes=1))
        Process.objects.create(name="sweeper", kind="sweeper")
        rollups.fill()

        found = machine_room.machine_room()

        assert (found.waiting, found.running, found.workers) == (2, 1, 1)
        assert 40 <= found.oldest_waiting_s < 100
        assert found.swept_at == Process.objects.get(kind="sweeper").seen_at
        assert found.figures_until == rollups.filled_until()
        assert found.ledger is None

    def test_of_an_idle_platform(self, db):
        found = machine_room.machine_room()

        assert (found.waiting, found.oldest_waiting_s, found.running, found.workers) == (0, None, 0, 0)
        assert (found.swept_at, found.figures_until, found.ledger) == (None, None, None)

    def test_three_queries(self, acme, django_assert_num_queries):
        with django_assert_num_queries(3):
            machine_room.machine_room()
        assert Entry.objects.exists()
