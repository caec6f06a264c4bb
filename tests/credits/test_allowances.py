"""Recurring allowances and grants dated ahead: posted when due, each once, by a calendar that does not drift."""

from datetime import UTC, datetime, timedelta

import pytest

from apps.core import clock
from apps.core.errors import InvalidField, InvalidRequest
from apps.core.models import AuditEntry, Event
from apps.credits import allowances
from apps.credits.errors import ScheduledGrantNotFound
from apps.credits.models import Allowance, Entry, Grant, ScheduledGrant
from apps.jobs import sweeper
from tests import make
from tests.credits import books, racing

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def at(monkeypatch):
    """Sets the database's clock, for who asks it."""

    def set_to(instant: datetime) -> None:
        monkeypatch.setattr(clock, "db_now", lambda: instant)

    set_to(datetime(2026, 1, 31, 12, tzinfo=UTC))
    return set_to


def configure(team, **more):
    fields = {"enabled": True, "amount_micros": 100 * books.CREDIT, "period": "monthly", "actor": make.TESTER}
    return allowances.configure(team, **{**fields, **more})


def day(month: int, number: int, hour: int = 12) -> datetime:
    return datetime(2026, month, number, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "number", "expected"),
    [
        ("daily", 1, datetime(2026, 2, 1, 12, tzinfo=UTC)),
        ("weekly", 2, datetime(2026, 2, 14, 12, tzinfo=UTC)),
        ("monthly", 1, datetime(2026, 2, 28, 12, tzinfo=UTC)),
        ("monthly", 2, datetime(2026, 3, 31, 12, tzinfo=UTC)),
        ("monthly", 11, datetime(2026, 12, 31, 12, tzinfo=UTC)),
        ("monthly", 12, datetime(2027, 1, 31, 12, tzinfo=UTC)),
        ("monthly", 25, datetime(2028, 2, 29, 12, tzinfo=UTC)),
    ],
)
def test_occurrences_are_counted_from_the_anchor(period, number, expected):
    assert allowances.occurrence(datetime(2026, 1, 31, 12, tzinfo=UTC), period, number) == expected


def test_a_month_is_refilled_when_it_is_due_and_once(team, at):
    configure(team)

    at(day(2, 28, hour=11))
    early = allowances.refill_due()
    at(day(2, 28))
    due, again = allowances.refill_due(), allowances.refill_due()

    assert (early, due, again) == (0, 1, 0)
    assert books.figures(team)["posted"] == 100
    refill = allowances.refill_of(team)
    assert (refill.last_refill_at, refill.next_at) == (day(2, 28), day(3, 31))
    entry = Entry.objects.get()
    assert (entry.reason, entry.source, entry.grants.get().kind) == ("Monthly allowance", "allowance", "subscription")


def test_what_a_standstill_missed_is_given_afterwards(team, at):
    configure(team)

    at(day(5, 15))

    assert allowances.refill_due() == 3
    assert books.figures(team)["posted"] == 300


def test_without_rollover_credits_last_until_the_next_refill(team, at):
    configure(team, rolls_over=False)

    at(day(2, 28))
    allowances.refill_due()
    assert Grant.objects.get().expires_at == day(3, 31)

    # Those of March and April would have expired by now.
    at(day(5, 31))
    assert allowances.refill_due() == 1
    assert Grant.objects.order_by("id")[1].expires_at == day(6, 30)


def test_first_refill_may_be_dated(team, at):
    refill = configure(team, first_at=day(2, 3))

    at(day(2, 3))
    assert allowances.refill_due() == 1
    assert refill.next_at == day(2, 3)
    assert allowances.refill_of(team).next_at == day(3, 3)


def test_another_amount_keeps_the_rhythm_and_another_period_begins_anew(team, at):
    configure(team)
    at(day(2, 10))

    assert configure(team, amount_micros=50 * books.CREDIT).next_at == day(2, 28)
    assert configure(team, period="weekly").next_at == day(2, 17)


def test_switched_off_it_keeps_its_settings_and_gives_nothing(team, at):
    configure(team)

    off = allowances.configure(team, enabled=False, actor=make.TESTER)

    at(day(6, 1))
    assert allowances.refill_due() == 0
    assert (off.is_enabled, off.amount_micros, off.period, off.next_at) == (False, 100_000_000, "monthly", None)
    assert configure(team).next_at == day(7, 1)
    changes = AuditEntry.objects.filter(action="team.allowance").order_by("id")
    assert [(change.before["enabled"], change.after["enabled"]) for change in changes] == [
        (False, True),
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"amount_micros": None}, "refill_amount must be a positive integer when enabling auto-refill"),
        ({"amount_micros": 0}, "refill_amount must be a positive integer when enabling auto-refill"),
        ({"period": None}, "refill_period must be specified when enabling auto-refill"),
        ({"period": "yearly"}, "refill_period must be 'monthly', 'weekly', or 'daily'"),
    ],
)
def test_wrong_settings_are_refused(team, wrong, text):
    with pytest.raises(InvalidRequest) as refused:
        configure(team, **wrong)

    assert refused.value.message == text
    assert not Allowance.objects.exists()


@pytest.mark.postgresql
def test_sweeps_at_once_refill_once(team, at):
    configure(team)
    at(day(3, 31))

    posted = racing.at_once([allowances.refill_due] * 6)

    assert sum(posted) == 2
    assert books.figures(team)["posted"] == 200


def test_sweeper_posts_what_is_due(team, at):
    configure(team, period="daily")
    at(clock.now() + timedelta(days=1))
    allowances.configure(team, enabled=False, actor=make.TESTER)
    allowances.schedule(team, amount_micros=1, effective_at=clock.db_now() + timedelta(seconds=1), actor=make.TESTER)
    at(clock.db_now() + timedelta(seconds=1))

    assert sweeper.run().granted == 1


# --- Grants dated ahead ------------------------------------------------------------------------------------


def schedule(team, **more) -> ScheduledGrant:
    fields = {"amount_micros": 5 * books.CREDIT, "effective_at": day(3, 1), "actor": make.TESTER}
    return allowances.schedule(team, **{**fields, **more})


def test_a_grant_dated_ahead_counts_from_its_instant_on(team, at):
    planned = schedule(team, expires_at=day(4, 1), kind=Grant.Kind.PROMOTIONAL, reason="spring")

    before = allowances.post_scheduled()
    at(day(3, 1))
    due, again = allowances.post_scheduled(), allowances.post_scheduled()

    planned.refresh_from_db()
    lot = Grant.objects.get()
    assert (before, due, again) == (0, 1, 0)
    assert planned.status == "posted"
    assert (lot.kind, lot.amount_micros, lot.expires_at) == ("promotional", 5_000_000, day(4, 1))
    assert lot.entry.reason == "spring"


def test_one_whose_credits_have_expired_before_it_is_posted_is_dropped(team, at):
    late, lasting = schedule(team, expires_at=day(4, 1)), schedule(team, expires_at=day(5, 1))

    at(day(4, 1))
    posted, again = allowances.post_scheduled(), allowances.post_scheduled()

    late.refresh_from_db()
    lasting.refresh_from_db()
    assert (posted, again) == (1, 0)
    assert (late.status, lasting.status) == ("expired", "posted")
    assert Grant.objects.get().entry == lasting.entry
    entry = AuditEntry.objects.get(action="grant.schedule_expired")
    assert (entry.object_id, entry.before["scheduled_grant"]) == (team.team_id, str(late.pk))
    assert Event.objects.get(kind="grant.schedule_expired").team_id == team.team_id


def test_a_cancelled_one_is_never_posted(team, at):
    planned = schedule(team)

    allowances.cancel(team, str(planned.pk), actor=make.TESTER)
    allowances.cancel(team, str(planned.pk), actor=make.TESTER)

    at(day(3, 2))
    assert allowances.post_scheduled() == 0
    assert AuditEntry.objects.filter(action="grant.unschedule").count() == 1


def test_a_posted_one_is_not_cancelled(team, at):
    planned = schedule(team)
    at(day(3, 2))
    allowances.post_scheduled()

    with pytest.raises(InvalidRequest, match="Reverse its entry"):
        allowances.cancel(team, str(planned.pk), actor=make.TESTER)


def test_another_teams_one_is_not_found(team, other_team, at):
    planned = schedule(team)

    with pytest.raises(ScheduledGrantNotFound):
        allowances.cancel(other_team, str(planned.pk), actor=make.TESTER)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"effective_at": day(1, 30)}, "effective_at"), ({"expires_at": day(2, 28)}, "expires_at")],
)
def test_instants_that_make_no_sense_are_refused(team, at, wrong, field):
    with pytest.raises(InvalidField) as refused:
        schedule(team, **wrong)

    assert refused.value.errors[0]["loc"] == ["body", field]


@pytest.mark.postgresql
def test_posting_and_cancelling_at_once_is_one_of_them(team, at):
    planned = schedule(team)
    at(day(3, 2))

    racing.at_once(
        [allowances.post_scheduled, lambda: allowances.cancel(team, str(planned.pk), actor=make.TESTER)] * 3
    )

    planned.refresh_from_db()
    assert Entry.objects.count() == (1 if planned.status == "posted" else 0)
