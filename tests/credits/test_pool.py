"""An organization's pool: allocate to a team and reclaim, with kind, expiry, priority and price kept."""

from datetime import timedelta

import pytest

from apps.core import clock
from apps.core.errors import IdempotencyConflict, InvalidRequest
from apps.credits import ledger
from apps.credits.errors import EntryNotReversible, PoolTooSmall, ReclaimExceedsAllocation
from apps.credits.models import Account, Entry, Grant
from tests import make
from tests.credits import books
from tests.credits.books import CREDIT

pytestmark = pytest.mark.usefixtures("_clean_books")


def fund(team, credits: int, *, key: str, **more) -> Entry:
    return ledger.grant_to_pool(team.organization, amount_micros=credits * CREDIT, actor=make.TESTER, key=key, **more)


def allocate(team, credits: int, *, key: str = "a") -> Entry:
    return ledger.allocate(team, amount_micros=credits * CREDIT, actor=make.TESTER, key=key)


def reclaim(team, credits: int, *, key: str = "r") -> Entry:
    return ledger.reclaim(team, amount_micros=credits * CREDIT, actor=make.TESTER, key=key)


def pool(team) -> tuple[int, int]:
    """Posted credits and debt of the pool."""
    account = Account.objects.get(kind="pool", organization=team.organization)
    return account.posted_micros // CREDIT, account.debt_micros // CREDIT


def remaining(account_kind: str) -> list[tuple[str, int]]:
    lots = Grant.objects.filter(account__kind=account_kind)
    return [(lot.kind, lot.remaining_micros // CREDIT) for lot in lots]


@pytest.fixture
def funded(team):
    """A pool of ten promotional credits that expire and twenty paid ones; the wallet is empty."""
    fund(
        team,
        10,
        key="promo",
        kind=Grant.Kind.PROMOTIONAL,
        expires_at=clock.now() + timedelta(days=5),
        price_nanousd_per_credit=7,
        priority=3,
    )
    fund(team, 20, key="paid", price_nanousd_per_credit=9)
    return team


def test_allocation_has_two_owned_sides_and_counts_as_allocated(funded):
    entry = allocate(funded, 12)

    assert (entry.kind, entry.debit_seq, entry.credit_seq) == ("allocate", 3, 1)
    assert (entry.debit_balance_micros, entry.credit_balance_micros) == (18 * CREDIT, 12 * CREDIT)
    assert pool(funded) == (18, 0)
    assert books.figures(funded) == {"posted": 12, "held": 0, "debt": 0, "allocated": 12, "used": 0}


def test_allocated_lots_keep_kind_expiry_priority_and_price(funded):
    allocate(funded, 12)

    promo, paid = Grant.objects.filter(account__kind="wallet")
    for lot in (promo, paid):
        assert lot.source_grant is not None
        for name in ("kind", "expires_at", "priority", "price_nanousd_per_credit"):
            assert getattr(lot, name) == getattr(lot.source_grant, name)
    assert (promo.priority, promo.amount_micros, paid.amount_micros) == (3, 10 * CREDIT, 2 * CREDIT)
    assert books.wallet(funded).next_expiry_at == promo.expires_at


def test_allocation_of_more_than_the_pool_has_is_refused(funded):
    before = books.rows()

    with pytest.raises(PoolTooSmall) as refused:
        allocate(funded, 31)

    assert refused.value.details["pool_micros"] == 30 * CREDIT
    assert books.rows() == before


def test_allocation_pays_debt_first(funded):
    books.give(funded, 5, key="disputed")
    books.spend(funded, 5)
    books.reverse(Entry.objects.get(idempotency_key="grant:mine:disputed"), 5, key="t")

    allocate(funded, 12)

    assert books.figures(funded) == {"posted": 7, "held": 0, "debt": 0, "allocated": 12, "used": 5}
    assert books.lots(funded) == [("promotional", 5), ("paid", 0), ("paid", 2)]


def test_reclaim_returns_to_the_lots_of_the_pool_what_would_be_spent_last(funded):
    allocate(funded, 12)

    entry = reclaim(funded, 5)

    assert (entry.kind, entry.debit_account.kind, entry.credit_account.kind) == ("reclaim", "wallet", "pool")
    assert remaining("wallet") == [("promotional", 7), ("paid", 0)]
    assert remaining("pool") == [("promotional", 3), ("paid", 20)]
    assert books.figures(funded)["allocated"] == 7
    assert pool(funded) == (23, 0)


@pytest.mark.parametrize("credits", [1, 12])
def test_allocate_and_reclaim_all_leaves_everything_as_it_was(funded, credits):
    allocate(funded, credits)
    reclaim(funded, credits)

    assert remaining("pool") == [("promotional", 10), ("paid", 20)]
    assert books.figures(funded) == {"posted": 0, "held": 0, "debt": 0, "allocated": 0, "used": 0}


def test_reclaim_leaves_what_jobs_hold_and_what_the_team_was_granted(funded):
    allocate(funded, 12)
    books.give(funded, 5, key="own")
    books.hold(funded, 8, job="job")

    with pytest.raises(ReclaimExceedsAllocation) as refused:
        reclaim(funded, 10)
    assert refused.value.details["reclaimable_micros"] == 9 * CREDIT
    reclaim(funded, 9)

    assert books.charge(funded, 8, job="job").charged_micros == 8 * CREDIT


def test_reclaim_takes_none_of_the_credit_line(funded):
    ledger.set_credit_line(funded, amount_micros=10 * CREDIT)
    allocate(funded, 2)
    books.spend(funded, 2)

    with pytest.raises(ReclaimExceedsAllocation):
        reclaim(funded, 1)


def test_what_expired_in_a_wallet_is_not_reclaimed(funded):
    allocate(funded, 12)
    books.pass_days(5)

    with pytest.raises(ReclaimExceedsAllocation):
        reclaim(funded, 3)
    reclaim(funded, 2)
    assert books.figures(funded)["posted"] == 0


def test_reclaim_pays_the_pools_debt_first(funded):
    allocate(funded, 30)
    books.reverse(Entry.objects.get(idempotency_key__endswith="paid"), 20, key="dispute")
    assert pool(funded) == (-20, 20)

    reclaim(funded, 15)

    assert pool(funded) == (-5, 5)


def test_take_back_of_a_pools_grant_leaves_the_teams_alone(funded):
    allocate(funded, 12)

    books.reverse(Entry.objects.get(idempotency_key__endswith="paid"), 20, key="dispute")

    assert pool(funded) == (-2, 2)
    assert books.figures(funded)["posted"] == 12


@pytest.mark.parametrize("move", [allocate, reclaim])
def test_b7_repeated_move_returns_the_first_and_moves_nothing_more(funded, move):
    allocate(funded, 10, key="before")
    first = move(funded, 4)
    before = books.rows()

    assert move(funded, 4) == first
    assert books.rows() == before
    with pytest.raises(IdempotencyConflict):
        move(funded, 5)


def test_b7_repeated_grant_to_a_pool_returns_the_first(team):
    first = fund(team, 5, key="same", external_id="payment-1")

    assert fund(team, 5, key="same", external_id="payment-1") == first
    with pytest.raises(IdempotencyConflict, match="external id"):
        books.give(team, 5, key="other", external_id="payment-1")
    assert pool(team) == (5, 0)


def test_moves_are_not_reversed_but_moved_back(funded):
    with pytest.raises(EntryNotReversible):
        books.reverse(allocate(funded, 4), 4, key="r")


@pytest.mark.parametrize("credits", [0, -1])
@pytest.mark.parametrize("move", [allocate, reclaim])
def test_nothing_and_less_cannot_be_moved(funded, move, credits):
    with pytest.raises(InvalidRequest):
        move(funded, credits)
