"""Holds: what a job reserves, makes larger or smaller, and gives back. No credits move."""

import pytest

from apps.core.errors import InvalidRequest
from apps.credits import ledger
from apps.credits.errors import HoldClosed, InsufficientCredits
from apps.credits.models import Hold
from apps.teams import services as teams
from tests import make
from tests.credits import books
from tests.credits.books import CREDIT

pytestmark = pytest.mark.usefixtures("_clean_books")


@pytest.fixture
def funded(team):
    """The team, with 10 credits."""
    books.give(team, 10, key="start")
    return team


def held(team) -> int:
    return books.figures(team)["held"]


def extend(team, credits: int, *, job: str) -> Hold:
    return ledger.extend(team, job=job, to_micros=credits * CREDIT)


# --- hold --------------------------------------------------------------------------------------------------


def test_hold_reserves_without_moving_credits(funded):
    hold = books.hold(funded, 4, job="job")

    assert (hold.state, hold.amount_micros) == ("open", 4 * CREDIT)
    assert books.figures(funded) == {"posted": 10, "held": 4, "debt": 0, "allocated": 10, "used": 0}


def test_the_last_credit_can_be_held(funded):
    books.hold(funded, 4, job="one")
    books.hold(funded, 6, job="two")

    assert held(funded) == 10


def test_more_than_can_be_spent_is_not_held(funded):
    books.hold(funded, 4, job="one")

    with pytest.raises(InsufficientCredits, match="Team has 6 credits remaining, but 7 required") as refused:
        books.hold(funded, 7, job="two")
    assert refused.value.details["spendable_micros"] == 6 * CREDIT
    assert held(funded) == 4
    assert not Hold.objects.filter(job="two").exists()


def test_fraction_that_is_short_is_told_as_a_whole_credit_required(funded):
    with pytest.raises(InsufficientCredits, match="10 credits remaining, but 11 required"):
        ledger.hold(funded, job="job", amount_micros=10 * CREDIT + 1)


def test_team_without_a_wallet_cannot_hold(db):
    org = make.organization()
    bare = teams.create(org, team_id="bare", actor=make.TESTER)

    with pytest.raises(InsufficientCredits, match="Team has 0 credits"):
        books.hold(bare, 1, job="job")


def test_repeated_hold_changes_nothing(funded):
    first = books.hold(funded, 4, job="job")

    assert books.hold(funded, 4, job="job") == first
    assert held(funded) == 4


def test_repeated_hold_is_found_when_nothing_is_left_to_hold(funded):
    first = books.hold(funded, 10, job="job")

    assert books.hold(funded, 10, job="job") == first
    assert held(funded) == 10


@pytest.mark.parametrize("closing", ["charge", "release"])
@pytest.mark.parametrize("left", [0, 10])
def test_closed_hold_does_not_pass_for_a_reservation(funded, closing, left):
    books.hold(funded, 4, job="job")
    _close(funded, closing)
    rest = books.figures(funded)["posted"] - left
    if rest > 0:
        books.adjust(funded, rest, key="spend")

    with pytest.raises(HoldClosed):
        books.hold(funded, 4, job="job")
    assert held(funded) == 0


def test_other_teams_hold_of_the_same_job_name_is_its_own(funded, other_team):
    books.hold(funded, 4, job="job")
    books.hold(other_team, 50, job="job")

    assert (held(funded), held(other_team)) == (4, 50)


def test_negative_hold_is_refused(funded):
    books.hold(funded, 4, job="one")

    with pytest.raises(InvalidRequest):
        ledger.hold(funded, job="two", amount_micros=-CREDIT)
    assert held(funded) == 4


# --- extend ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", [0, 2, 4, 9, 10])
def test_extend_makes_a_hold_exactly_as_large(funded, to):
    books.hold(funded, 4, job="job")

    assert extend(funded, to, job="job").amount_micros == to * CREDIT
    assert held(funded) == to
    assert Hold.objects.get().amount_micros == to * CREDIT


def test_extend_opens_a_hold_where_there_is_none(funded):
    extend(funded, 3, job="job")

    assert held(funded) == 3


def test_repeated_extend_changes_nothing(funded):
    for _ in range(2):
        extend(funded, 10, job="job")

    assert held(funded) == 10


def test_extend_beyond_what_can_be_spent_leaves_the_hold_as_it_was(funded):
    books.hold(funded, 4, job="job")

    with pytest.raises(InsufficientCredits, match="Team has 6 credits remaining, but 7 required"):
        extend(funded, 11, job="job")
    assert held(funded) == 4
    assert Hold.objects.get().amount_micros == 4 * CREDIT


@pytest.mark.parametrize("closing", ["charge", "release"])
@pytest.mark.parametrize("to", [2, 4, 6])
def test_closed_hold_is_not_extended(funded, closing, to):
    books.hold(funded, 4, job="job")
    _close(funded, closing)

    with pytest.raises(HoldClosed):
        extend(funded, to, job="job")
    assert held(funded) == 0


def test_extend_leaves_another_teams_hold_alone(funded, other_team):
    books.hold(other_team, 50, job="job")

    extend(funded, 4, job="job")

    assert (held(funded), held(other_team)) == (4, 50)


def test_extend_to_less_than_nothing_is_refused(funded):
    books.hold(funded, 4, job="job")

    with pytest.raises(InvalidRequest):
        ledger.extend(funded, job="job", to_micros=-1)
    assert held(funded) == 4


# --- release -----------------------------------------------------------------------------------------------


def test_release_gives_back_all_that_is_held(funded):
    books.hold(funded, 4, job="job")
    extend(funded, 7, job="job")

    assert ledger.release(job="job") == 7 * CREDIT
    assert books.figures(funded) == {"posted": 10, "held": 0, "debt": 0, "allocated": 10, "used": 0}
    assert Hold.objects.get().state == "released"
    assert Hold.objects.get().closed_at is not None


def test_second_release_gives_back_nothing(funded):
    books.hold(funded, 4, job="job")
    books.hold(funded, 3, job="other")
    ledger.release(job="job")

    assert ledger.release(job="job") == 0
    assert held(funded) == 3


def test_release_after_the_charge_gives_back_nothing(funded):
    books.hold(funded, 4, job="job")
    books.charge(funded, 1, job="job")

    assert ledger.release(job="job") == 0
    assert books.figures(funded)["posted"] == 9


def test_release_of_an_unknown_job_does_nothing(funded):
    assert ledger.release(job="unknown") == 0


def _close(team, closing: str) -> None:
    if closing == "charge":
        books.charge(team, 4, job="job")
    else:
        ledger.release(job="job")
