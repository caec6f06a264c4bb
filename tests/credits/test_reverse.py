"""Reversals: refunds of charges and take-backs of grants, in parts, never more than the original."""

import pytest

from apps.core.errors import IdempotencyConflict
from apps.credits.errors import EntryNotReversible, ReversalExceedsEntry
from apps.credits.models import ISSUED_ID, REVENUE_ID, Grant
from tests.credits import books
from tests.credits.books import CREDIT

pytestmark = pytest.mark.usefixtures("_clean_books")


@pytest.fixture
def granted(team):
    """A grant of 10 credits to the team."""
    return books.give(team, 10, key="start")


@pytest.fixture
def charged(team, granted):
    """A charge of 6 of the 10 credits."""
    return books.spend(team, 6)


# --- Refunds -----------------------------------------------------------------------------------------------


def test_refund_returns_credits_to_the_lot_that_paid(team, charged):
    refund = books.reverse(charged, 6, key="r", external_id="refund-1")

    assert (refund.kind, refund.job, refund.reverses) == ("refund", "job", charged)
    assert (refund.debit_account_id, refund.credit_account_id) == (REVENUE_ID, charged.debit_account_id)
    assert books.figures(team) == {"posted": 10, "held": 0, "debt": 0, "allocated": 10, "used": 0}
    assert books.lots(team) == [("paid", 10)]
    assert books.paid_by(refund) == [("paid", -6)]


def test_partial_refunds_sum_to_the_charge_and_no_more(team, charged):
    books.reverse(charged, 2, key="r1")
    books.reverse(charged, 3, key="r2")

    with pytest.raises(ReversalExceedsEntry, match="At most 1000000 micros"):
        books.reverse(charged, 2, key="r3")
    books.reverse(charged, 1, key="r4")
    with pytest.raises(ReversalExceedsEntry):
        books.reverse(charged, 1, key="r5")
    assert books.figures(team)["posted"] == 10


def test_replayed_refund_gives_nothing_more(team, charged):
    first = books.reverse(charged, 6, key="r")
    before = books.rows()

    assert books.reverse(charged, 6, key="r") == first
    assert books.rows() == before
    assert books.figures(team)["posted"] == 10


def test_refund_key_of_another_amount_raises(team, charged):
    books.reverse(charged, 2, key="r")

    with pytest.raises(IdempotencyConflict):
        books.reverse(charged, 3, key="r")
    assert books.figures(team)["posted"] == 6


def test_refund_key_of_another_external_id_raises(team, charged):
    books.reverse(charged, 2, key="r", external_id="refund-1")

    with pytest.raises(IdempotencyConflict):
        books.reverse(charged, 2, key="r", external_id="refund-2")
    assert books.figures(team)["posted"] == 6


@pytest.mark.parametrize("original", ["granted", "charged"])
def test_external_id_reverses_once(team, granted, charged, original):
    books.reverse(charged, 1, key="r1", external_id="refund-1")
    before = books.rows()

    with pytest.raises(IdempotencyConflict, match="external id"):
        books.reverse({"granted": granted, "charged": charged}[original], 1, key="r2", external_id="refund-1")
    assert books.rows() == before
    assert books.figures(team)["posted"] == 5


def test_refund_of_one_charge_leaves_another_key_space_alone(team, charged):
    second = books.spend(team, 4, job="second")

    books.reverse(charged, 6, key="same")
    books.reverse(second, 4, key="same")

    assert books.figures(team)["posted"] == 10


# --- Take-backs --------------------------------------------------------------------------------------------


def test_take_back_of_an_unspent_grant_leaves_nothing(team, granted):
    taken = books.reverse(granted, 10, key="t")

    assert (taken.kind, taken.credit_account_id, taken.reverses) == ("take_back", ISSUED_ID, granted)
    assert books.figures(team) == {"posted": 0, "held": 0, "debt": 0, "allocated": 0, "used": 0}
    assert books.lots(team) == [("paid", 0)]


def test_take_back_takes_the_lot_that_is_taken_back_before_others(team, granted):
    books.give(team, 5, key="promo", kind=Grant.Kind.PROMOTIONAL)

    books.reverse(granted, 10, key="t")

    assert books.lots(team) == [("promotional", 5), ("paid", 0)]


def test_take_back_of_a_spent_lot_takes_from_what_else_there_is(team, granted):
    books.hold(team, 10, job="job")
    books.charge(team, 10, job="job")
    books.give(team, 4, key="second")

    books.reverse(granted, 10, key="t")

    assert books.figures(team) == {"posted": -6, "held": 0, "debt": 6, "allocated": 4, "used": 10}


def test_partial_take_backs_sum_to_the_grant_and_no_more(team, granted):
    books.reverse(granted, 7, key="t1")
    books.reverse(granted, 3, key="t2")

    with pytest.raises(ReversalExceedsEntry, match="At most 0 micros"):
        books.reverse(granted, 1, key="t3")
    assert books.figures(team)["posted"] == 0


def test_replayed_take_back_takes_nothing_more(team, granted):
    first = books.reverse(granted, 10, key="t")
    before = books.rows()

    assert books.reverse(granted, 10, key="t") == first
    assert books.rows() == before


def test_take_back_leaves_open_holds_what_they_need(team, granted):
    books.hold(team, 7, job="job")

    books.reverse(granted, 10, key="t")

    assert books.figures(team) == {"posted": 0, "held": 7, "debt": 7, "allocated": 0, "used": 0}
    assert books.charge(team, 7, job="job").charged_micros == 7 * CREDIT
    assert books.figures(team) == {"posted": -7, "held": 0, "debt": 7, "allocated": 0, "used": 7}


# --- What cannot be reversed -------------------------------------------------------------------------------


@pytest.mark.parametrize("credits", [0, -1])
def test_nothing_and_less_cannot_be_reversed(charged, credits):
    with pytest.raises(ReversalExceedsEntry):
        books.reverse(charged, credits, key="r")


def test_reversals_and_adjustments_are_not_reversed(team, granted, charged):
    corrections = [
        books.reverse(charged, 1, key="r"),
        books.reverse(granted, 1, key="t"),
        books.adjust(team, 1, key="a"),
    ]

    for entry in corrections:
        with pytest.raises(EntryNotReversible):
            books.reverse(entry, 1, key="again")
