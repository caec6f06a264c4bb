"""Debt: what was spent on a credit line or taken back after it was spent, and how it is paid."""

import pytest

from apps.credits.errors import InsufficientCredits
from apps.credits.models import Account, Grant
from tests.credits import books
from tests.credits.books import CREDIT

pytestmark = pytest.mark.usefixtures("_clean_books")


@pytest.fixture
def line(team):
    """The team, with 5 credits and a credit line of 10."""
    books.give(team, 5, key="start")
    Account.objects.filter(team=team).update(credit_line_micros=10 * CREDIT)
    return team


def figures(team, *names: str) -> tuple[int, ...]:
    return tuple(books.figures(team)[name] for name in names or ("posted", "held", "debt"))


def test_line_can_be_held_and_spent_to_its_end(line):
    books.hold(line, 15, job="job")
    with pytest.raises(InsufficientCredits):
        books.hold(line, 1, job="other")

    books.charge(line, 15, job="job")

    assert figures(line) == (-10, 0, 10)
    with pytest.raises(InsufficientCredits):
        books.hold(line, 1, job="other")


def test_charge_above_its_hold_may_use_the_line(line):
    books.hold(line, 5, job="job")

    charge = books.charge(line, 20, job="job")

    assert (charge.charged_micros, charge.uncollected_micros) == (15 * CREDIT, 5 * CREDIT)
    assert figures(line) == (-10, 0, 10)


def test_new_grant_pays_debt_first_like_a_charge_of_its_lot(line):
    books.spend(line, 12)
    assert figures(line) == (-7, 0, 7)

    entry = books.give(line, 10, key="pay")

    assert figures(line) == (3, 0, 0)
    assert books.lots(line) == [("paid", 0), ("paid", 3)]
    assert books.paid_by(entry) == [("paid", 7)]


def test_small_grant_pays_part_of_the_debt_and_leaves_an_empty_lot(line):
    books.spend(line, 12)

    books.give(line, 4, key="pay")

    assert figures(line) == (-3, 0, 3)
    assert books.lots(line) == [("paid", 0), ("paid", 0)]


def test_take_back_after_spending_books_debt_and_stops_new_holds(team):
    granted = books.give(team, 10, key="start")
    books.spend(team, 8)

    books.reverse(granted, 10, key="chargeback")

    assert figures(team, "posted", "debt", "allocated", "used") == (-8, 8, 0, 8)
    with pytest.raises(InsufficientCredits, match="Team has 0 credits remaining"):
        books.hold(team, 1, job="other")


def test_grant_after_a_take_back_pays_it_off(team):
    spend_all = books.give(team, 10, key="start")
    books.spend(team, 8)
    books.reverse(spend_all, 10, key="chargeback")

    books.give(team, 20, key="paid again")

    assert figures(team, "posted", "debt", "allocated", "used") == (12, 0, 20, 8)
    assert books.hold(team, 12, job="other").state == "open"


def test_take_back_of_a_grant_that_paid_debt_owes_it_again(line):
    books.spend(line, 12)
    grant = books.give(line, 10, key="pay")

    books.reverse(grant, 10, key="bounced")

    assert figures(line) == (-7, 0, 7)


def test_refund_pays_debt_before_it_returns_to_lots(line):
    entry = books.spend(line, 12)

    books.reverse(entry, 9, key="r")

    assert figures(line) == (2, 0, 0)
    assert books.lots(line) == [("paid", 2)]


def test_refund_of_what_a_grant_has_paid_since_becomes_goodwill(line):
    entry = books.spend(line, 12)
    books.give(line, 7, key="pay")

    books.reverse(entry, 12, key="r")

    assert figures(line) == (12, 0, 0)
    assert books.lots(line) == [("goodwill", 7), ("paid", 5), ("paid", 0)]


def test_refund_pays_debt_that_another_grant_left(team):
    granted = books.give(team, 10, key="start")
    entry = books.spend(team, 10)
    books.reverse(granted, 10, key="chargeback")

    books.reverse(entry, 10, key="r")

    assert figures(team, "posted", "debt", "allocated", "used") == (0, 0, 0, 0)
    assert books.lots(team) == [("paid", 0)]


def test_partial_reversals_from_both_ends_never_exceed_their_entries(line):
    grant = Grant.objects.get().entry
    entry = books.spend(line, 15)

    for number in range(5):
        books.reverse(grant, 1, key=f"t{number}")
        books.reverse(entry, 3, key=f"r{number}")

    assert figures(line, "posted", "debt", "allocated", "used") == (0, 0, 0, 0)


def test_hold_that_outlived_a_take_back_is_charged_from_its_own_lots(team):
    granted = books.give(team, 10, key="start")
    books.hold(team, 10, job="job")
    books.reverse(granted, 10, key="chargeback")
    assert figures(team) == (0, 10, 10)

    charge = books.charge(team, 10, job="job")

    assert (charge.charged_micros, charge.uncollected_micros) == (10 * CREDIT, 0)
    assert figures(team) == (-10, 0, 10)
    assert books.lots(team) == [("paid", 0)]


def test_released_hold_after_a_take_back_leaves_nothing_to_spend(team):
    granted = books.give(team, 10, key="start")
    books.hold(team, 10, job="job")
    books.reverse(granted, 10, key="chargeback")

    books.ledger.release(job="job")

    assert figures(team) == (0, 0, 10)
    with pytest.raises(InsufficientCredits):
        books.hold(team, 1, job="other")
