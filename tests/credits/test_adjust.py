"""Adjustments and allocations: an operator takes credits out, never what is used, held or borrowed."""

import pytest

from apps.core.errors import IdempotencyConflict, InvalidRequest
from apps.credits import ledger
from apps.credits.errors import InsufficientCredits
from apps.credits.models import ISSUED_ID, Account
from apps.provisioning import credits as provisioning
from tests import make
from tests.credits import books
from tests.credits.books import CREDIT

pytestmark = pytest.mark.usefixtures("_clean_books")


@pytest.fixture
def funded(team):
    """The team, with 10 credits."""
    books.give(team, 10, key="start")
    return team


def allocate(team, credits: int, *, key: str):
    return provisioning.set_allocation(team, credits=credits, actor=make.TESTER, key=key)


def test_adjustment_takes_credits_out(funded):
    entry = books.adjust(funded, 4, key="a")

    assert (entry.kind, entry.credit_account_id, entry.debit_balance_micros) == ("adjust", ISSUED_ID, 6 * CREDIT)
    assert books.figures(funded) == {"posted": 6, "held": 0, "debt": 0, "allocated": 6, "used": 0}
    assert books.lots(funded) == [("paid", 6)]


def test_adjustment_of_more_than_can_be_spent_is_refused(funded):
    books.hold(funded, 4, job="job")

    with pytest.raises(InsufficientCredits):
        books.adjust(funded, 7, key="a")
    assert books.figures(funded) == {"posted": 10, "held": 4, "debt": 0, "allocated": 10, "used": 0}
    books.adjust(funded, 6, key="a")


def test_adjustment_does_not_touch_the_credit_line(funded):
    Account.objects.filter(team=funded).update(credit_line_micros=5 * CREDIT)

    with pytest.raises(InsufficientCredits):
        books.adjust(funded, 11, key="a")


def test_replayed_adjustment_takes_nothing_more(funded):
    first = books.adjust(funded, 4, key="a")

    assert books.adjust(funded, 4, key="a") == first
    assert books.figures(funded)["posted"] == 6


def test_replayed_adjustment_is_found_when_the_wallet_is_empty(funded):
    first = books.adjust(funded, 10, key="a")

    assert books.adjust(funded, 10, key="a") == first


def test_adjustment_key_of_another_amount_raises(funded):
    books.adjust(funded, 4, key="a")

    with pytest.raises(IdempotencyConflict):
        books.adjust(funded, 5, key="a")
    assert books.figures(funded)["posted"] == 6


def test_the_same_key_of_another_team_is_another_adjustment(funded, other_team):
    books.adjust(funded, 4, key="a")
    books.adjust(other_team, 9, key="a")

    assert (books.figures(funded)["posted"], books.figures(other_team)["posted"]) == (6, 91)


@pytest.mark.parametrize("amount_micros", [0, -CREDIT])
def test_adjustment_that_would_add_is_refused(funded, amount_micros):
    with pytest.raises(InvalidRequest):
        ledger.adjust(funded, amount_micros=amount_micros, actor=make.TESTER, key="a", reason="a test")
    assert books.figures(funded)["posted"] == 10


def test_allocation_is_raised_by_a_grant_and_lowered_by_an_adjustment(funded):
    raised, lowered, same = (allocate(funded, credits, key=key) for credits, key in ((25, "a"), (15, "b"), (15, "c")))

    assert (raised.kind, raised.amount_micros) == ("grant", 15 * CREDIT)
    assert (lowered.kind, lowered.amount_micros) == ("adjust", 10 * CREDIT)
    assert same is None
    assert books.figures(funded)["allocated"] == 15


def test_allocation_below_what_is_used_and_held_is_refused(funded):
    books.hold(funded, 4, job="used")
    books.charge(funded, 4, job="used")
    books.hold(funded, 3, job="held")

    with pytest.raises(InvalidRequest, match=r"less than what is used and held: 7 \(used 4, held 3\)"):
        allocate(funded, 6, key="a")
    assert allocate(funded, 7, key="a").amount_micros == 3 * CREDIT
    assert books.figures(funded) == {"posted": 3, "held": 3, "debt": 0, "allocated": 7, "used": 4}
