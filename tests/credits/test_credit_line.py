"""A bounded credit line: how far below zero a wallet may be spent."""

import pytest

from apps.core.errors import InvalidRequest
from apps.credits import ledger
from apps.credits.errors import CreditLineInUse, InsufficientCredits
from apps.credits.models import Entry
from tests.credits import books
from tests.credits.books import CREDIT

pytestmark = pytest.mark.usefixtures("_clean_books")


def line(team, credits: int) -> int:
    return ledger.set_credit_line(team, amount_micros=credits * CREDIT) // CREDIT


def test_wallet_is_spent_down_to_its_line_and_no_further(team):
    books.give(team, 2, key="k")
    assert line(team, 5) == 0

    books.spend(team, 7)

    with pytest.raises(InsufficientCredits):
        books.hold(team, 1, job="more")
    assert books.figures(team) == {"posted": -5, "held": 0, "debt": 5, "allocated": 2, "used": 7}


def test_line_cannot_be_less_than_what_is_spent_and_held_of_it(team):
    line(team, 5)
    books.spend(team, 2)
    books.hold(team, 1, job="open")

    with pytest.raises(CreditLineInUse, match="spent and held of it: 3 credits") as refused:
        line(team, 2)
    assert refused.value.details == {"used_micros": 3 * CREDIT}
    assert line(team, 3) == 5


def test_line_of_a_wallet_in_deeper_debt_stays_or_grows(team):
    books.give(team, 9, key="k")
    books.spend(team, 9)
    line(team, 2)
    books.reverse(Entry.objects.get(kind="grant"), 9, key="dispute")

    with pytest.raises(CreditLineInUse):
        line(team, 1)
    assert line(team, 2) == 2
    assert line(team, 4) == 2


def test_grant_pays_what_was_spent_on_the_line(team):
    line(team, 5)
    books.spend(team, 5)

    books.give(team, 8, key="k")

    assert line(team, 0) == 5
    assert books.figures(team) == {"posted": 3, "held": 0, "debt": 0, "allocated": 8, "used": 5}


def test_line_cannot_be_negative(team):
    with pytest.raises(InvalidRequest):
        line(team, -1)
