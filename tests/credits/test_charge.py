"""Charging: once per job, what was held first, then what can be spent, never more."""

import pytest

from apps.core.errors import IdempotencyConflict, InvalidRequest
from apps.credits import ledger
from apps.credits.errors import HoldClosed
from apps.credits.models import REVENUE_ID, Entry, Hold
from tests import make
from tests.credits import books
from tests.credits.books import CREDIT

pytestmark = pytest.mark.usefixtures("_clean_books")


@pytest.fixture
def funded(team):
    """The team, with 10 credits."""
    books.give(team, 10, key="start")
    return team


def test_charge_posts_one_entry_and_closes_the_hold(funded):
    books.hold(funded, 4, job="job")

    charge = ledger.charge(funded, job="job", amount_micros=4 * CREDIT, actor=make.TESTER, reason="summary")

    entry = Entry.objects.get(kind="charge")
    assert charge == ledger.Charge(entry.pk, 4 * CREDIT, 0)
    assert (entry.credit_account_id, entry.credit_seq, entry.debit_seq) == (REVENUE_ID, None, 2)
    assert (entry.job, entry.source, entry.actor, entry.reason) == ("job", "job:job", "command:tests", "summary")
    assert entry.debit_balance_micros == 6 * CREDIT
    assert Hold.objects.get().state == "charged"
    assert books.figures(funded) == {"posted": 6, "held": 0, "debt": 0, "allocated": 10, "used": 4}


def test_plain_hold_and_charge_ask_as_little_as_they_can(funded, django_assert_num_queries, is_postgresql):
    """Writes to several tables are one statement on PostgreSQL."""
    with django_assert_num_queries(1 if is_postgresql else 2):
        books.hold(funded, 4, job="job")
    with django_assert_num_queries(4 if is_postgresql else 7):
        books.charge(funded, 4, job="job")


def test_charge_below_the_hold_gives_the_rest_back(funded):
    books.hold(funded, 10, job="job")

    books.charge(funded, 3, job="job")

    assert books.figures(funded) == {"posted": 7, "held": 0, "debt": 0, "allocated": 10, "used": 3}


def test_charge_above_the_hold_takes_the_rest_from_what_can_be_spent(funded):
    books.hold(funded, 4, job="job")

    charge = books.charge(funded, 9, job="job")

    assert (charge.charged_micros, charge.uncollected_micros) == (9 * CREDIT, 0)
    assert books.figures(funded)["posted"] == 1


def test_what_is_not_there_stays_uncollected(funded):
    books.hold(funded, 4, job="job")

    charge = books.charge(funded, 13, job="job")

    assert (charge.charged_micros, charge.uncollected_micros) == (10 * CREDIT, 3 * CREDIT)
    assert books.figures(funded)["posted"] == 0


def test_charge_never_takes_what_another_job_holds(funded):
    books.hold(funded, 4, job="job")
    books.hold(funded, 5, job="other")

    charge = books.charge(funded, 9, job="job")

    assert (charge.charged_micros, charge.uncollected_micros) == (5 * CREDIT, 4 * CREDIT)
    assert books.figures(funded) == {"posted": 5, "held": 5, "debt": 0, "allocated": 10, "used": 5}
    assert books.charge(funded, 5, job="other").charged_micros == 5 * CREDIT


def test_second_charge_of_a_job_returns_the_first(funded):
    books.hold(funded, 4, job="job")
    first = books.charge(funded, 4, job="job")
    before = books.rows()

    assert books.charge(funded, 4, job="job") == first
    assert books.rows() == before
    assert books.figures(funded)["posted"] == 6


def test_second_charge_returns_the_first_when_the_wallet_is_empty(funded):
    books.hold(funded, 10, job="job")
    first = books.charge(funded, 10, job="job")

    assert books.charge(funded, 10, job="job") == first


def test_second_charge_says_again_what_was_uncollected(funded):
    books.hold(funded, 10, job="job")
    first = books.charge(funded, 12, job="job")
    books.give(funded, 50, key="later")

    assert books.charge(funded, 12, job="job") == first
    assert books.figures(funded)["posted"] == 50


def test_second_charge_collects_nothing_that_came_after_an_empty_first_one(funded):
    books.hold(funded, 10, job="other")
    first = books.charge(funded, 3, job="job")
    books.give(funded, 50, key="later")

    assert (first.charged_micros, first.uncollected_micros) == (0, 3 * CREDIT)
    assert books.charge(funded, 3, job="job") == first
    assert books.figures(funded)["posted"] == 60


def test_job_charged_without_a_hold_holds_nothing_afterwards(funded):
    first = books.charge(funded, 3, job="job")

    with pytest.raises(HoldClosed):
        books.hold(funded, 3, job="job")
    assert books.charge(funded, 3, job="job") == first
    assert books.figures(funded) == {"posted": 7, "held": 0, "debt": 0, "allocated": 10, "used": 3}


def test_second_charge_of_another_amount_changes_nothing(funded):
    books.hold(funded, 4, job="job")
    books.charge(funded, 4, job="job")

    assert books.charge(funded, 2, job="job").charged_micros == 4 * CREDIT
    assert books.figures(funded)["posted"] == 6


def test_charge_of_nothing_only_releases_the_hold(funded):
    books.hold(funded, 4, job="job")

    assert books.charge(funded, 0, job="job") == ledger.Charge(None, 0, 0)
    assert Entry.objects.filter(kind="charge").count() == 0
    assert Hold.objects.get().state == "charged"
    assert books.figures(funded)["held"] == 0


def test_charge_without_a_hold_takes_what_can_be_spent(funded):
    books.hold(funded, 8, job="other")

    charge = books.charge(funded, 3, job="job")

    assert (charge.charged_micros, charge.uncollected_micros) == (2 * CREDIT, 1 * CREDIT)
    assert books.figures(funded) == {"posted": 8, "held": 8, "debt": 0, "allocated": 10, "used": 2}


def test_released_job_is_not_charged(funded):
    books.hold(funded, 4, job="job")
    ledger.release(job="job")

    assert books.charge(funded, 4, job="job") == ledger.Charge(None, 0, 4 * CREDIT)
    assert books.figures(funded)["posted"] == 10


def test_another_teams_charge_of_the_same_job_is_refused(funded, other_team):
    books.hold(funded, 4, job="job")
    books.charge(funded, 4, job="job")

    with pytest.raises(IdempotencyConflict):
        books.charge(other_team, 4, job="job")
    assert books.figures(other_team)["posted"] == 100


def test_charge_leaves_another_teams_hold_alone(funded, other_team):
    books.hold(other_team, 50, job="job")

    books.charge(funded, 3, job="job")

    assert books.figures(other_team)["held"] == 50


def test_negative_charge_is_refused(funded):
    books.hold(funded, 4, job="job")

    with pytest.raises(InvalidRequest):
        ledger.charge(funded, job="job", amount_micros=-CREDIT)
    assert books.figures(funded) == {"posted": 10, "held": 4, "debt": 0, "allocated": 10, "used": 0}
