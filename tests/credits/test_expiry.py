"""B11: credits expire at their instant, less what holds opened before it may still burn, and never pass unseen."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core import clock
from apps.credits import billing, ledger
from apps.credits.errors import InsufficientCredits
from apps.credits.ledger.expiry import expirable
from apps.credits.models import EXPIRED_ID, Account, Entry, Grant
from tests import make
from tests.credits import books
from tests.credits.books import CREDIT

pytestmark = pytest.mark.usefixtures("_clean_books")

Kind = Grant.Kind


def in_days(days: float):
    return clock.now() + timedelta(days=days)


@pytest.fixture
def expiring(team):
    """Ten credits that expire tomorrow, and five that never do."""
    books.give(team, 10, key="soon", expires_at=in_days(1))
    books.give(team, 5, key="never")
    return team


def expired(team) -> list[int]:
    """Credits of each EXPIRE entry."""
    entries = Entry.objects.filter(kind="expire", debit_account__team=team).order_by("id")
    return [entry.amount_micros // CREDIT for entry in entries]


# --- B11: what expires --------------------------------------------------------------------------------------


def test_b11_what_remains_of_a_lot_expires_and_lowers_what_was_allocated(expiring):
    books.spend(expiring, 4)
    books.pass_days(1)

    assert ledger.expire_due() == (1, None)

    entry = Entry.objects.get(kind="expire")
    assert (entry.credit_account_id, entry.amount_micros, entry.actor) == (EXPIRED_ID, 6 * CREDIT, "system")
    assert entry.source == f"grant:{Grant.objects.get(entry__idempotency_key='grant:mine:soon').pk}"
    assert books.figures(expiring) == {"posted": 5, "held": 0, "debt": 0, "allocated": 9, "used": 4}
    assert books.lots(expiring) == [("paid", 0), ("paid", 5)]


def test_b11_nothing_expires_before_its_instant(expiring):
    assert ledger.expire_due() == (0, None)
    assert books.figures(expiring)["posted"] == 15


def test_b11_expiry_is_posted_once(expiring):
    books.pass_days(1)
    ledger.expire_due()
    before = books.rows()

    assert ledger.expire_due() == (0, None)
    assert books.rows() == before


def test_b11_soonest_expiry_burns_first_and_promotional_before_paid(team):
    books.give(team, 5, key="paid", expires_at=in_days(1))
    books.give(team, 5, key="later", kind=Kind.PROMOTIONAL, expires_at=in_days(9))
    books.give(team, 5, key="sooner", kind=Kind.PROMOTIONAL, expires_at=in_days(8))

    books.spend(team, 7)

    remaining = dict(Grant.objects.values_list("entry__idempotency_key", "remaining_micros"))
    assert remaining == {
        "grant:mine:paid": 5 * CREDIT,
        "grant:mine:later": 3 * CREDIT,
        "grant:mine:sooner": 0,
    }


# --- Holds --------------------------------------------------------------------------------------------------


def test_expired_credits_are_never_held_though_nobody_posted_them(expiring):
    books.pass_days(1)

    with pytest.raises(InsufficientCredits):
        books.hold(expiring, 6, job="too much")
    books.hold(expiring, 5, job="job")

    assert expired(expiring) == [10]
    assert books.figures(expiring) == {"posted": 5, "held": 5, "debt": 0, "allocated": 5, "used": 0}


def test_refused_hold_leaves_the_expiry_to_others(expiring):
    books.pass_days(1)
    before = books.rows()

    with pytest.raises(InsufficientCredits, match="Team has 5 credits remaining, but 6 required"):
        books.hold(expiring, 6, job="job")

    assert books.rows() == before


def test_hold_opened_before_the_expiry_keeps_its_credits(expiring):
    books.hold(expiring, 4, job="old")
    books.pass_days(1)
    ledger.expire_due()

    assert expired(expiring) == [6]
    assert books.charge(expiring, 4, job="old").charged_micros == 4 * CREDIT
    assert books.lots(expiring) == [("paid", 0), ("paid", 5)]


def test_what_an_old_hold_leaves_goes_when_it_ends(expiring):
    books.hold(expiring, 4, job="old")
    books.pass_days(1)
    ledger.expire_due()

    books.charge(expiring, 1, job="old")
    assert billing.balance(expiring).spendable_micros == 5 * CREDIT
    books.hold(expiring, 5, job="new")

    assert expired(expiring) == [6, 3]
    assert books.figures(expiring) == {"posted": 5, "held": 5, "debt": 0, "allocated": 6, "used": 1}


def test_released_hold_lets_its_expired_credits_go(expiring):
    books.hold(expiring, 12, job="old")
    books.pass_days(1)
    ledger.expire_due()
    assert expired(expiring) == []

    ledger.release(job="old")
    ledger.expire_due()

    assert expired(expiring) == [10]
    assert books.figures(expiring)["posted"] == 5


def test_holds_count_in_burn_order_against_lots_before_the_expired_one(expiring):
    books.give(expiring, 3, key="promo", kind=Kind.PROMOTIONAL)
    books.hold(expiring, 4, job="old")
    books.pass_days(1)
    ledger.expire_due()

    assert expired(expiring) == [9]
    assert books.lots(expiring) == [("promotional", 3), ("paid", 1), ("paid", 5)]


def test_new_job_does_not_burn_what_was_kept_for_an_old_one(expiring):
    books.hold(expiring, 4, job="old")
    books.pass_days(1)
    books.spend(expiring, 5, job="new")

    assert books.lots(expiring) == [("paid", 4), ("paid", 0)]
    assert books.charge(expiring, 4, job="old").charged_micros == 4 * CREDIT
    assert books.figures(expiring)["posted"] == 0


def test_charge_beyond_its_hold_takes_no_expired_credits(expiring):
    books.hold(expiring, 4, job="old")
    books.pass_days(1)

    charge = books.charge(expiring, 15, job="old")

    assert (charge.charged_micros, charge.uncollected_micros) == (9 * CREDIT, 6 * CREDIT)
    assert expired(expiring) == [6]


def test_hold_that_grows_after_the_expiry_grows_out_of_what_is_left(expiring):
    books.hold(expiring, 4, job="old")
    books.pass_days(1)

    with pytest.raises(InsufficientCredits):
        ledger.extend(expiring, job="old", to_micros=10 * CREDIT)
    ledger.extend(expiring, job="old", to_micros=9 * CREDIT)

    assert books.figures(expiring) == {"posted": 9, "held": 9, "debt": 0, "allocated": 9, "used": 0}


def test_adjustment_takes_no_expired_credits(expiring):
    books.pass_days(1)

    with pytest.raises(InsufficientCredits):
        books.adjust(expiring, 6, key="a")
    books.adjust(expiring, 5, key="b")
    assert books.figures(expiring)["posted"] == 0


def test_take_back_of_an_expired_grant_is_a_debt(expiring):
    books.spend(expiring, 12)
    books.pass_days(1)

    books.reverse(Entry.objects.get(idempotency_key="grant:mine:soon"), 10, key="dispute")

    assert books.figures(expiring) == {"posted": -7, "held": 0, "debt": 7, "allocated": 5, "used": 12}


# --- Refunds of what expired --------------------------------------------------------------------------------


def test_refund_to_an_expired_lot_is_goodwill_for_the_stated_grace(expiring, settings):
    settings.REFUND_GRACE_DAYS = 7
    charge = books.spend(expiring, 12)
    books.pass_days(1)

    refund = books.reverse(charge, 12, key="r")

    (goodwill,) = Grant.objects.filter(entry=refund)
    assert (goodwill.kind, goodwill.amount_micros) == ("goodwill", 10 * CREDIT)
    assert timedelta(days=6.9) < goodwill.expires_at - clock.now() < timedelta(days=7.1)
    assert books.paid_by(refund) == [("paid", -2)]
    books.pass_days(8)
    ledger.expire_due()
    assert expired(expiring) == [10]


def test_refunds_in_parts_of_an_expired_lot_and_others_return_to_each_what_it_paid(team):
    books.give(team, 3, key="never", kind=Kind.PROMOTIONAL)
    books.give(team, 4, key="soon", expires_at=in_days(1))
    charge = books.spend(team, 7)
    books.pass_days(1)

    for part in range(7):
        books.reverse(charge, 1, key=f"r{part}")

    assert books.lots(team) == [("promotional", 3), *[("goodwill", 1)] * 4, ("paid", 0)]


# --- What is shown ------------------------------------------------------------------------------------------


def test_balance_shows_what_can_be_spent_before_anything_is_posted(expiring, other_team):
    books.hold(expiring, 4, job="old")
    books.pass_days(1)

    balance = billing.balance(expiring)
    assert (balance.spendable_micros, balance.allocated_micros) == (5 * CREDIT, 9 * CREDIT)
    assert billing.balances([expiring, other_team])[expiring.pk] == balance
    assert expired(expiring) == []


# --- The guard ----------------------------------------------------------------------------------------------


def test_next_expiry_is_that_of_the_soonest_lot_with_something_left(expiring):
    books.give(expiring, 1, key="later", expires_at=in_days(3))
    soon, later = Grant.objects.filter(expires_at__isnull=False).order_by("expires_at")
    assert books.wallet(expiring).next_expiry_at == soon.expires_at

    books.pass_days(1)
    ledger.expire_due()

    later.refresh_from_db()
    assert books.wallet(expiring).next_expiry_at == later.expires_at
    books.pass_days(3)
    ledger.expire_due()
    assert books.wallet(expiring).next_expiry_at is None


def test_hold_and_charge_take_no_statement_more_for_credits_that_will_expire(expiring, other_team):
    def statements(team) -> int:
        with CaptureQueriesContext(
            connection,
        ) as seen:
            books.hold(team, 1, job=f"job of {team.team_id}")
            books.charge(team, 1, job=f"job of {team.team_id}")
        return len(seen)

    assert statements(expiring) == statements(other_team)


def test_expiry_goes_on_after_the_last_account_of_a_bounded_run(team, other_team):
    for each in (team, other_team):
        books.give(each, 1, key="soon", expires_at=in_days(1))
    books.pass_days(1)
    first, second = sorted(Account.objects.filter(team__in=[team, other_team]).values_list("pk", flat=True))

    assert ledger.expire_due(limit=1) == (1, first)
    assert ledger.expire_due(after=first, limit=1) == (1, second)
    assert ledger.expire_due(after=second, limit=1) == (0, None)


def test_sweep_command_posts_what_has_expired(team, settings):
    from apps.jobs import sweeper

    books.give(team, 1, key="soon", expires_at=in_days(1))
    books.pass_days(1)

    assert sweeper.run().credits_expired == 1
    assert books.figures(team)["posted"] == 0


# --- The rule alone -----------------------------------------------------------------------------------------


class Lot:
    def __init__(self, name: str, remaining: int, expires_in: int | None) -> None:
        self.pk = name
        self.remaining_micros = remaining
        self.expires_at = None if expires_in is None else NOW + timedelta(hours=expires_in)


NOW = clock.now()


@pytest.mark.parametrize(
    ("lots", "holds", "due"),
    [
        pytest.param([("a", 5, -1)], [], [("a", 5)], id="nothing held"),
        pytest.param([("a", 5, -1)], [(-2, 3)], [("a", 2)], id="held before"),
        pytest.param([("a", 5, -1)], [(0, 3)], [("a", 5)], id="held after"),
        pytest.param([("a", 5, -1)], [(-1, 3)], [("a", 5)], id="held at the instant"),
        pytest.param([("a", 5, 1)], [], [], id="not yet"),
        pytest.param([("p", 2, None), ("a", 5, -1)], [(-2, 3)], [("a", 4)], id="held of another lot first"),
        pytest.param([("a", 4, -2), ("b", 5, -1)], [(-3, 2), (-1.5, 3)], [("a", 2), ("b", 2)], id="two expiries"),
        pytest.param([("b", 3, -1), ("a", 1, -2)], [(-1.5, 3)], [("a", 1)], id="the later expiry burns first"),
        pytest.param([("a", 4, -2), ("b", 5, -1)], [(-1.5, 3)], [("a", 4), ("b", 2)], id="one moves up"),
    ],
)
def test_what_expires(lots, holds, due):
    found = expirable(
        [Lot(*lot) for lot in lots], [(NOW + timedelta(hours=opened), amount) for opened, amount in holds], at=NOW
    )
    assert [tuple(each) for each in found] == due


def test_grants_in_a_pool_expire_too(team):
    ledger.grant_to_pool(
        team.organization, amount_micros=7, actor=make.TESTER, key="k", expires_at=in_days(1), kind=Kind.PROMOTIONAL
    )
    books.pass_days(1)

    assert ledger.expire_due() == (1, None)
    assert Account.objects.get(kind="pool").posted_micros == 0
