"""Closed months: what belongs to one is fixed by numbers, in order, once."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.core import clock
from apps.core.errors import InvalidField
from apps.core.models import AuditEntry
from apps.credits import periods
from apps.credits.errors import PeriodNotClosable
from apps.credits.models import Block, Period, PeriodBalance
from tests import make
from tests.credits import books

pytestmark = pytest.mark.django_db(transaction=True)
NOW = clock.now()
THIS_MONTH = f"{NOW:%Y-%m}"
NEXT_MONTH = f"{NOW.replace(day=1) + timedelta(days=31):%Y-%m}"


@pytest.fixture
def ahead(monkeypatch):
    """Lets the database's clock be this many days ahead, for who asks it."""
    real = clock.db_now

    def jump(days: int) -> None:
        monkeypatch.setattr(clock, "db_now", lambda: real() + timedelta(days=days))

    return jump


def test_closing_records_each_accounts_last_number_and_balance(team, ahead):
    books.give(team, 10, key="start")
    books.spend(team, 3)
    ahead(40)

    period, was_closed = periods.close(THIS_MONTH, actor=make.TESTER)

    row = PeriodBalance.objects.get(period=period)
    assert not was_closed
    assert (row.account_id, row.last_seq, row.posted_micros) == (books.wallet(team).pk, 2, 7_000_000)
    assert row.block_hash == Block.objects.get().hash
    assert AuditEntry.objects.get(action="period.close").object_id == THIS_MONTH
    assert list(periods.periods_are_as_they_were_closed()) == []


def test_later_entries_belong_to_the_next_month(team, ahead):
    books.give(team, 10, key="start")
    ahead(40)
    periods.close(THIS_MONTH, actor=make.TESTER)
    books.spend(team, 3)

    again, was_closed = periods.close(THIS_MONTH, actor=make.TESTER)
    ahead(75)
    periods.close(NEXT_MONTH, actor=make.TESTER)

    assert was_closed
    closed = PeriodBalance.objects.order_by("period").values_list("period", "last_seq", "posted_micros")
    assert list(closed) == [(THIS_MONTH, 1, 10_000_000), (NEXT_MONTH, 2, 7_000_000)]
    assert again.pk == THIS_MONTH


def test_an_account_without_entries_in_a_month_keeps_its_balance(team, ahead):
    books.give(team, 10, key="start")
    ahead(75)

    periods.close(THIS_MONTH, actor=make.TESTER)
    periods.close(NEXT_MONTH, actor=make.TESTER)

    assert list(PeriodBalance.objects.values_list("last_seq", flat=True)) == [1, 1]


def test_a_running_month_is_not_closed(team):
    with pytest.raises(PeriodNotClosable, match="15 minutes after its end"):
        periods.close(THIS_MONTH, actor=make.TESTER)

    assert not Period.objects.exists()


def test_months_are_closed_in_order(team, ahead):
    books.give(team, 10, key="start")
    ahead(75)

    with pytest.raises(PeriodNotClosable, match=f"the next one to close is {THIS_MONTH}"):
        periods.close(NEXT_MONTH, actor=make.TESTER)
    periods.close(THIS_MONTH, actor=make.TESTER)
    ahead(110)
    skipped = f"{NOW.replace(day=1) + timedelta(days=63):%Y-%m}"
    with pytest.raises(PeriodNotClosable, match=f"the next one to close is {NEXT_MONTH}"):
        periods.close(skipped, actor=make.TESTER)


@pytest.mark.parametrize("name", ["2026", "2026-13", "2026-1", "october", "2026-10-01", ""])
def test_a_month_is_named_by_year_and_number(name):
    with pytest.raises(InvalidField, match="YYYY-MM"):
        periods.close(name, actor=make.TESTER)


def test_bounds_of_december():
    assert periods.bounds("2025-12") == (datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))


def test_command_closes_and_says_so(team, ahead):
    books.give(team, 10, key="start")
    with pytest.raises(CommandError, match="can be closed"):
        call_command("close_period", THIS_MONTH)
    ahead(40)
    out = StringIO()

    call_command("close_period", THIS_MONTH, stdout=out)
    call_command("close_period", THIS_MONTH, stdout=out)

    first, second = out.getvalue().splitlines()
    assert first.endswith(": 1 accounts")
    assert second.endswith(" (before): 1 accounts")
